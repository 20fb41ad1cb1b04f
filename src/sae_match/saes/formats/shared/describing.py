"""What an SAE is, known from its config and the header or size of its file: no parameter is downloaded or read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_match.saes.formats.shared.reading import stated

# What an archive adds to its arrays: names, shapes, checksums.
_OVERHEAD = 4096


@dataclass(frozen=True)
class SAEDescription:
    """What the files beside an SAE's parameters say.

    Attributes:
        d_in: Width of the activations; none where nothing says it.
        d_sae: Number of features; none where nothing says it.
        hook: Name of the place that the SAE reads, as the file spells it; none where nothing says it.
        has_thresholds: Whether its features have thresholds to fold by; none where nothing says it.
        unmeasurable: Why it can be matched and nothing can be measured of it on text; none where that can be.
    """

    d_in: int | None
    d_sae: int | None
    hook: str | None
    has_thresholds: bool | None = None
    unmeasurable: str | None = None


def described_by(file: Path, config: Mapping[str, Any], *, d_in: str, d_sae: str, hook: str | None) -> SAEDescription:
    """The description that a config gives.

    Args:
        file: Where the config comes from.
        config: The config.
        d_in: Its key of the width.
        d_sae: Its key of the number of features.
        hook: Name of the place that the SAE reads.

    Raises:
        UserError: If a size is no whole number.
    """
    width, features = (stated(file, config, key) for key in (d_in, d_sae))
    return SAEDescription(width, features, hook)


def rows_of(encoder: tuple[int, ...] | None) -> int | None:
    """Width of the activations, by the shape of an encoder `[d_in, d_sae]`; none if it is none."""
    return encoder[0] if encoder is not None and len(encoder) == 2 else None


def width_in(size: int, d_sae: int) -> int | None:
    """Width of the activations, by the size of a float32 file of a JumpReLU SAE.

    Args:
        size: Of the file, in bytes.
        d_sae: Number of features.

    Returns:
        None where no width fits: the file is compressed, of another precision, or too small to tell.
    """

    def bytes_of(d_in: int) -> int:
        return 4 * (2 * d_in * d_sae + 2 * d_sae + d_in)

    d_in = (size // 4 - 2 * d_sae) // (2 * d_sae + 1)
    tells = bytes_of(1) - bytes_of(0) > _OVERHEAD
    return d_in if tells and d_in > 0 and 0 <= size - bytes_of(d_in) <= _OVERHEAD else None
