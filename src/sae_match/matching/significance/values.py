"""From statistics and what chance gives to p-values, q-values and the share that is no chance."""

import math

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

# Above this p-value a feature counts as one that has no partner (Storey 2002).
_LAMBDA = 0.5


def p_values(statistic: Float64[Tensor, " n"], null: Float64[Tensor, " k"]) -> Float64[Tensor, " n"]:
    """`(1 + #{null >= statistic}) / (1 + #null)` for each statistic; nan where that is nan.

    Args:
        statistic: Observed.
        null: What chance gives, all features and random targets together; minus infinity for no pair.
    """
    # What came out as no number says nothing for a feature.
    ordered = null.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf).sort().values
    at_least = len(ordered) - torch.searchsorted(ordered, statistic.nan_to_num(math.inf))
    return torch.where(statistic.isnan(), torch.nan, (1 + at_least).double() / (1 + len(ordered)))


def q_values(p: Float64[Tensor, " n"], tested: Bool[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """The smallest level at which Benjamini and Hochberg call each significant; nan where there is no p-value.

    Args:
        p: nan for a tested feature that has no partner, which counts as one, and for what is not tested.
        tested: What is decided about together.
    """
    known = tested & ~p.isnan()
    found = torch.full_like(p, math.nan)
    ordered, order = p[known].sort(stable=True)
    # Of those without a partner, which stand behind all others, only the number counts.
    rank = torch.arange(1, len(ordered) + 1, dtype=torch.float64)
    steps = ordered * int(tested.sum()) / rank
    steps = steps.flip(0).cummin(0).values.flip(0).clamp_max(1)
    found[known.nonzero().flatten()[order]] = steps
    return found


def storey_share(p: Float64[Tensor, " n"], tested: Bool[Tensor, " n"]) -> float:
    """Estimate of the share that has a true partner: of those with any, one minus twice the share with `p > 1/2`.

    A feature without a partner, as a wider dictionary has by necessity, has no true one. nan where nothing is tested.
    """
    if not tested.any():
        return math.nan
    known = p[tested & ~p.isnan()]
    none = float((known > _LAMBDA).double().sum()) / (1 - _LAMBDA)
    return max(0.0, (len(known) - none) / int(tested.sum()))
