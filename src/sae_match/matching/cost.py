"""From two SAEs to pairwise costs: every cost is a squared distance of feature vectors (Eq. 3)."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_match.errors import UserError
from sae_match.saes.folding import Fold, fold_scale, folding_scale
from sae_match.saes.sae import SAE

Term = Literal["W_enc", "b_enc", "W_dec"]
Metric = Literal["mse", "cosine"]
TERMS: tuple[Term, ...] = ("W_enc", "b_enc", "W_dec")


def term_weights(terms: Sequence[str] | Mapping[str, float]) -> dict[Term, float]:
    """Weights by term, in a fixed order; a plain sequence of terms means weight one each.

    Raises:
        UserError: If a term is unknown, none has weight, or a weight is negative or not finite.
    """
    given = dict(terms) if isinstance(terms, Mapping) else dict.fromkeys(terms, 1.0)
    for name, weight in given.items():
        if name not in TERMS:
            raise UserError(f"unknown term {name!r}; there are {', '.join(TERMS)}")
        if not isinstance(weight, int | float) or not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"the weight of {name} must be finite and not negative, got {weight!r}")
    weights = {term: float(given[term]) for term in TERMS if given.get(term, 0.0) > 0}
    if not weights:
        raise UserError(f"no term to match by; choose among {', '.join(TERMS)}")
    return weights


def feature_vectors(
    sae: SAE, *, fold: Fold, terms: Mapping[Term, float], metric: Metric
) -> Float[Tensor, "d_sae width"]:
    """One float64 vector a feature, such that a pair's cost is the squared distance of its vectors.

    The vector puts the folded column of `W_enc`, entry of `b_enc` and row of `W_dec` side by side,
    each times the square root of its term's weight. Under `cosine` it is scaled to length
    `sqrt(1/2)`: the squared distance of two such vectors is one minus their cosine.

    Raises:
        UserError: If the SAE cannot be folded that way, a parameter is not finite, or, under
            `cosine`, a feature's vector is zero.
    """
    wide = sae.to(dtype=torch.float64)
    folded = fold_scale(wide, folding_scale(wide, fold))
    parts = {"W_enc": folded.W_enc.T, "b_enc": folded.b_enc[:, None], "W_dec": folded.W_dec}
    for name in terms:
        _refuse_not_finite(parts[name], name)
    vectors = torch.cat([math.sqrt(weight) * parts[name] for name, weight in terms.items()], dim=1).detach()
    if not torch.isfinite(vectors.square().sum(dim=1)).all():
        raise UserError("the squared length of a feature's parameters leaves the range of float64; lower the weights")
    if metric == "mse":
        return vectors
    if metric != "cosine":
        raise UserError(f"unknown metric {metric!r}; there are mse, cosine")
    norms = vectors.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise UserError(f"feature {int((norms == 0).nonzero()[0, 0])} is zero in all terms and has no cosine")
    return vectors.div(norms * math.sqrt(2))


def cost_matrix(
    source: Float[Tensor, "n_source width"], target: Float[Tensor, "n_target width"]
) -> Float[Tensor, "n_source n_target"]:
    """Squared distances of all pairs, float64, by one matrix product.

    Both sides are moved to a common centre first: distances stay, and what all features have in
    common cancels before it can drown the differences.
    """
    centre = (source.mean(0) + target.mean(0)) / 2
    source, target = source - centre, target - centre
    squares = source.square().sum(1)[:, None] + target.square().sum(1)
    return squares.addmm_(source, target.T, alpha=-2).clamp_min_(0)


def pair_costs(
    source: Float[Tensor, "n_source width"],
    target: Float[Tensor, "n_target width"],
    permutation: Int[Tensor, " n_source"],
) -> Float[Tensor, " n_source"]:
    """Squared distance of each pair, from the differences themselves; nan where there is no pair."""
    costs = torch.full((len(source),), math.nan, dtype=torch.float64)
    paired = (permutation >= 0).nonzero().flatten()
    # In blocks, so that no third copy of the feature vectors is made.
    for rows in paired.split(4096):
        costs[rows] = (source[rows] - target[permutation[rows]]).square().sum(1).cpu()
    return costs


def rounding_margin(
    source: Float[Tensor, "n_source width"], target: Float[Tensor, "n_target width"]
) -> Float[Tensor, " n_source"]:
    """For each source feature, a bound on the rounding error of its entries of `cost_matrix`.

    An inner product of `n` terms in floating point is off by at most `n u / (1 - n u)` times the
    product of the norms, whatever the order of summation (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1); here `u = 2^-53`, and three such products and three sums make
    an entry. The factor two also covers the rounding of the vectors when they are centred.
    """
    centre = (source.mean(0) + target.mean(0)) / 2
    source, target = source - centre, target - centre
    unit = torch.finfo(torch.float64).eps / 2
    width = source.shape[1] + 3
    gamma = width * unit / (1 - width * unit)
    reach = source.norm(dim=1) + target.norm(dim=1).max()
    return cast(Tensor, 2 * gamma * reach.square()).cpu()


def _refuse_not_finite(part: Float[Tensor, "d_sae width"], name: str) -> None:
    bad = ~torch.isfinite(part).all(dim=1)
    if bad.any():
        raise UserError(f"{name} of feature {int(bad.nonzero()[0])} is not finite ({int(bad.sum())} features are not)")
