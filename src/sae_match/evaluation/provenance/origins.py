"""Which row of another dictionary is nearest to each feature's decoder row, and whether chance finds one as near."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.arithmetic import blocks
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds
from sae_match.matching.significance.settings import Null, refuse_impossible_counts, refuse_unknown
from sae_match.matching.significance.values import p_values, q_values
from sae_match.saes.sae import SAE
from sae_match.tensors import exact_product, plain_torch

# Rows whose cosines with all others exist at one time.
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Origin:
    """The nearest row of one dictionary to each feature of a layer.

    Attributes:
        nearest: Number of that row; -1 for a feature without a direction.
        score: Cosine with it; nan for a feature without a direction.
        p: Probability that a random dictionary, otherwise alike, has a row as near.
        q: By Benjamini and Hochberg, over the features of the layer.
        by_chance: Median cosine with the nearest row of random dictionaries.
    """

    nearest: Int64[Tensor, " n"]
    score: Float64[Tensor, " n"]
    p: Float64[Tensor, " n"]
    q: Float64[Tensor, " n"]
    by_chance: float = math.nan

    @property
    def tested(self) -> Bool[Tensor, " n"]:
        """Features that have a direction."""
        return self.nearest >= 0


@plain_torch()
def origin_of(
    features: Float[Tensor, "n d"],
    rows: Float[Tensor, "m d"],
    *,
    null: Null = "second_moment",
    rotations: int = 8,
    seed: int = 0,
) -> Origin:
    """The nearest row to each feature, against random rows that crowd where the real ones do.

    The largest of many cosines is large by chance, the more so where both dictionaries crowd in the same directions: so
    the rows are turned in the basis in which their second moment is white, as for a matching, and the largest cosine is
    taken again. The null is pooled over features and random dictionaries.

    Args:
        features: Decoder rows of the features that are asked about.
        rows: Decoder rows of the dictionary that they may come from.
        null: As for `sae_match.significance`.
        rotations: Random dictionaries.
        seed: Of them.

    Raises:
        UserError: If widths differ, no feature has a direction, or the rows are too few for a random dictionary.
    """
    refuse_unknown(null, "decoder")
    refuse_impossible_counts(rotations, seed)
    if features.shape[1] != rows.shape[1]:
        raise UserError(f"features have {features.shape[1]} dimensions, what they may come from {rows.shape[1]}")
    wanted, there = _unit(features), _has_direction(features)
    live = _has_direction(rows)
    if not bool(there.any()):
        raise UserError(f"none of the {len(features)} features has a decoder direction")
    score, nearest = _largest(wanted, _unit(rows), live)
    score, nearest = torch.where(there, score, torch.nan), torch.where(there, nearest, -1)
    targets = NullTargets((_as_sae(rows),), null, (live,))
    drawn = [
        _largest(wanted, _unit(targets.draw(each)[0].W_dec), live)[0][there] for each in rotation_seeds(seed, rotations)
    ]
    by_chance = torch.cat(drawn)
    p = p_values(score, by_chance)
    return Origin(nearest, score, p, q_values(p, there), float(by_chance.median()))


def _as_sae(rows: Float[Tensor, "m d"]) -> SAE:
    """A dictionary that reads as it writes: what draws random dictionaries turns both alike."""
    m, d = rows.shape
    zeros = torch.zeros(m, dtype=rows.dtype, device=rows.device)
    return SAE(
        rows.T.contiguous(), zeros, rows, torch.zeros(d, dtype=rows.dtype, device=rows.device), activation="relu"
    )


def _largest(
    wanted: Float[Tensor, "n d"], rows: Float[Tensor, "m d"], live: Bool[Tensor, " m"]
) -> tuple[Float64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Largest cosine of each unit row with a live one of others, and whose it is; on the CPU."""
    score, nearest = torch.empty(len(wanted), dtype=torch.float64), torch.empty(len(wanted), dtype=torch.int64)
    hidden = ~live.to(rows.device)
    for block in blocks(len(wanted), _ROWS):
        cosines = exact_product(wanted[block], rows).masked_fill_(hidden, -torch.inf)
        best = cosines.max(dim=1)
        score[block], nearest[block] = best.values.double().cpu(), best.indices.cpu()
    return score, nearest


def _unit(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return torch.nn.functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)


def _has_direction(rows: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    size = rows.abs().sum(1)
    return ((size > 0) & torch.isfinite(size)).cpu()
