"""Which language model, as settings."""

from dataclasses import dataclass
from pathlib import Path

from sae_match.errors import UserError

#: Types that a model's parameters can have.
DTYPE_NAMES = ("float32", "bfloat16")


@dataclass
class ModelSettings:
    """Which language model.

    Attributes:
        source: Folder or hub repository.
        revision: Commit, tag or branch of the repository.
        dtype: `float32` or `bfloat16`; float16 overflows in the residual streams of today's models.
        attention: Attention implementation, such as `eager` or `sdpa`; the model's own choice if none is
            given. Gemma 2's soft cap asks for `eager`.
        device_map: `auto` spreads a model that does not fit one device over all there are, and over main
            memory; by default it goes where the trainer is.
    """

    source: str
    revision: str | None = None
    dtype: str = "float32"
    attention: str | None = None
    device_map: str | None = None

    def __post_init__(self) -> None:
        refuse_unknown_dtype(self.dtype)

    @property
    def location(self) -> str:
        """The source as libraries take it: they do not know what `~` stands for."""
        return str(Path(self.source).expanduser()) if self.source.startswith("~") else self.source


def refuse_unknown_dtype(name: str) -> None:
    """Refuse a type of parameters that there is not.

    Raises:
        UserError: If it is one.
    """
    if name not in DTYPE_NAMES:
        raise UserError(f"model.dtype must be one of {', '.join(DTYPE_NAMES)}, got {name!r}")
