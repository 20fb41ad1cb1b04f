"""Do the features that no other seed has span the same space there? Principal angles, against what chance gives.

Two seeds may have other features and still describe the same part of the residual stream, in another basis. Then the
spaces of the features that only one of them has are closer than random spaces, and closer than those of as many
features of the same dictionaries, drawn at random: dictionaries crowd in some directions, and any two sets of their
features have these in common.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.significance.nulls import written_and_read
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch

_FEWEST = 2
# Share of the width from which on two spaces have much in common whatever they are.
_MOST_OF_WIDTH = 4


@dataclass(frozen=True, eq=False)
class SpaceOverlap:
    """How much two spaces of equal dimension have in common; 1 where they are the same.

    Attributes:
        features: Features of either side that span them.
        dimension: Of both: the leading directions of what the features span.
        angles: Principal angles, in radians, the smallest first.
        shared: Mean squared cosine of the angles.
        random: The same of random spaces of that dimension, one a draw.
        drawn: The same of spaces of as many features, drawn from the same dictionaries, one a draw.
    """

    features: tuple[int, int]
    dimension: int
    angles: Float64[Tensor, " dimension"]
    shared: float
    random: Float64[Tensor, " draws"]
    drawn: Float64[Tensor, " draws"]

    @property
    def p_random(self) -> float:
        """Probability that random spaces have as much in common."""
        return _p(self.shared, self.random)

    @property
    def p_drawn(self) -> float:
        """Probability that spaces of features drawn from the same dictionaries have as much in common."""
        return _p(self.shared, self.drawn)


@plain_torch()
def common_space(
    first: SAE,
    second: SAE,
    of_first: Bool[Tensor, " n_first"],
    of_second: Bool[Tensor, " n_second"],
    *,
    dimension: int | None = None,
    draws: int = 200,
    seed: int = 0,
) -> SpaceOverlap:
    """Principal angles between the spaces that some features of two dictionaries write to.

    Args:
        first: One dictionary.
        second: The other, of the same width of activations.
        of_first: Features of the first, such as those that no other seed has.
        of_second: Features of the second.
        dimension: Of the spaces; by default as many as there are features, but a quarter of the width at most, beyond
            which any two spaces have much in common.
        draws: Random spaces, and sets of drawn features.
        seed: Of them.

    Raises:
        UserError: If the dictionaries read unlike activations, there are too few features, or no such dimension.
    """
    if first.d_in != second.d_in:
        raise UserError(f"the first reads activations of width {first.d_in}, the second of width {second.d_in}")
    live = written_and_read(first), written_and_read(second)
    chosen = of_first.cpu() & live[0], of_second.cpu() & live[1]
    counts = int(chosen[0].sum()), int(chosen[1].sum())
    if min(counts) < _FEWEST:
        raise UserError(
            f"spaces are spanned by at least {_FEWEST} features with directions, got {counts[0]} and {counts[1]}"
        )
    most = min(*counts, first.d_in)
    size = max(1, min(most, first.d_in // _MOST_OF_WIDTH)) if dimension is None else dimension
    if not 1 <= size <= most:
        raise UserError(
            f"{counts[0]} and {counts[1]} features of width {first.d_in} span no space of {size} dimensions"
        )
    rows = [_unit_rows(sae.W_dec) for sae in (first, second)]
    angles = principal_angles(*(leading_space(side[part], size) for side, part in zip(rows, chosen, strict=True)))
    generator = torch.Generator().manual_seed(seed)
    random, drawn = [], []
    for _ in range(draws):
        spaces = [_random_space(first.d_in, size, generator) for _ in range(2)]
        random.append(_shared(principal_angles(*spaces)))
        picked = [_some(part, count, generator) for part, count in zip(live, counts, strict=True)]
        spaces = [leading_space(side[some], size) for side, some in zip(rows, picked, strict=True)]
        drawn.append(_shared(principal_angles(*spaces)))
    of_draws = (torch.tensor(each, dtype=torch.float64) for each in (random, drawn))
    return SpaceOverlap(counts, size, angles, _shared(angles), *of_draws)


def leading_space(rows: Float64[Tensor, "n d"], dimension: int) -> Float64[Tensor, "d dimension"]:
    """Orthonormal basis of the directions along which rows spread most, about the origin."""
    basis: Tensor = torch.linalg.eigh(rows.T @ rows)[1][:, -dimension:]
    return basis


def principal_angles(
    first: Float64[Tensor, "d dimension"], second: Float64[Tensor, "d dimension"]
) -> Float64[Tensor, " dimension"]:
    """Principal angles between two spaces by their orthonormal bases, the smallest first."""
    cosines = torch.linalg.svdvals(first.T @ second).clamp(0, 1)
    # Of small angles the cosine says little: what is left of one basis beside the other says it (Björck and Golub).
    sines = torch.linalg.svdvals(second - first @ (first.T @ second)).clamp(0, 1).flip(0)
    return torch.where(cosines.square() > 0.5, sines.asin(), cosines.acos())


def _unit_rows(rows: Float[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
    rows = rows.detach().cpu().double()
    lengths = rows.norm(dim=1, keepdim=True)
    unit: Tensor = rows / torch.where(lengths > 0, lengths, 1)
    return unit


def _random_space(d: int, dimension: int, generator: torch.Generator) -> Float64[Tensor, "d dimension"]:
    basis: Tensor = torch.linalg.qr(torch.randn(d, dimension, generator=generator, dtype=torch.float64))[0]
    return basis


def _some(among: Bool[Tensor, " n"], count: int, generator: torch.Generator) -> Tensor:
    index = among.nonzero().flatten()
    return index[torch.randperm(len(index), generator=generator)[:count]]


def _shared(angles: Float64[Tensor, " dimension"]) -> float:
    return float(angles.cos().square().mean())


def _p(shared: float, by_chance: Float64[Tensor, " draws"]) -> float:
    return (1 + int((by_chance >= shared).sum())) / (1 + len(by_chance)) if len(by_chance) else math.nan
