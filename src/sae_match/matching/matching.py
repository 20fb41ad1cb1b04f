"""`match`: two SAEs in, the cheapest one-to-one matching of their features out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching import storage
from sae_match.matching.cost import (
    TERMS,
    Metric,
    cost_matrix,
    feature_vectors,
    pair_costs,
    rounding_margin,
    term_weights,
)
from sae_match.matching.dense import solve_dense
from sae_match.saes.folding import Fold
from sae_match.saes.sae import SAE

Solver = Literal["auto", "dense", "sparse"]


@dataclass
class MatcherSettings:
    """The arguments of `match`, as a value that can be configured, compared and hashed.

    Attributes:
        fold: `threshold`, `decoder_norm` or `none`.
        terms: Weight of each of `W_enc`, `b_enc`, `W_dec`; a term of weight zero plays no part.
        metric: `mse` (squared distance) or `cosine`.
        solver: `auto`, `dense` or `sparse`.
    """

    fold: str = "threshold"
    terms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TERMS, 1.0))
    metric: str = "mse"
    solver: str = "auto"


@dataclass(frozen=True, eq=False, repr=False)
class Matching:
    """Which target feature each source feature is.

    Attributes:
        permutation: Target feature of each source feature, -1 where there is none.
        pair_cost: Cost of each pair, nan where there is none or it is not known.
        lower_bound: No one-to-one matching costs less; minus infinity where nothing is proven.
        provenance: How the matching was found: solver, settings, content hashes of both SAEs.

    Raises:
        UserError: If two source features share a target, or shapes or dtypes are wrong.
    """

    permutation: Int64[Tensor, " n_source"]
    pair_cost: Float64[Tensor, " n_source"]
    lower_bound: float = -math.inf
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.permutation.dtype != torch.int64 or self.permutation.ndim != 1:
            raise UserError(f"a permutation is int64 [n], got {self.permutation.dtype} {list(self.permutation.shape)}")
        if self.pair_cost.dtype != torch.float64 or self.pair_cost.shape != self.permutation.shape:
            raise UserError(
                f"pair_cost must be float64 {list(self.permutation.shape)}, "
                f"got {self.pair_cost.dtype} {list(self.pair_cost.shape)}"
            )
        if (self.permutation < -1).any():
            raise UserError(f"a permutation holds feature indices and -1, got {int(self.permutation.min())}")
        taken = self.permutation[self.permutation >= 0]
        if len(taken.unique()) != len(taken):
            raise UserError("two source features share a target feature: not a one-to-one matching")

    def __repr__(self) -> str:
        pairs = int((self.permutation >= 0).sum())
        return f"Matching({pairs} pairs, cost={self.cost:.6g}, lower_bound={self.lower_bound:.6g})"

    @property
    def cost(self) -> float:
        """Sum of the pairs' costs; nan if there are pairs and none has a known cost."""
        known = self.pair_cost[~self.pair_cost.isnan()]
        if len(known) == 0 and (self.permutation >= 0).any():
            return math.nan
        return math.fsum(known.tolist())

    def save(self, path: str | Path) -> None:
        """Write as safetensors, whole or not at all, with the provenance in the metadata."""
        tensors = {"permutation": self.permutation, "pair_cost": self.pair_cost}
        storage.save(Path(path), tensors, {**self.provenance, "lower_bound": repr(self.lower_bound)})

    @classmethod
    def load(cls, path: str | Path) -> "Matching":
        """Read what `save` wrote.

        Raises:
            UserError: If the file is missing, damaged or of another format version.
        """
        tensors, provenance = storage.load(Path(path), ("permutation", "pair_cost"))
        if "lower_bound" not in provenance:
            raise UserError(f"{path} has no lower_bound in its metadata; it was not written by Matching.save")
        bound = float(provenance.pop("lower_bound"))
        return cls(tensors["permutation"], tensors["pair_cost"], bound, provenance)


def match(
    source: SAE,
    target: SAE,
    *,
    fold: Fold = "threshold",
    terms: Sequence[str] | Mapping[str, float] = TERMS,
    metric: Metric = "mse",
    solver: Solver = "auto",
) -> Matching:
    """Match features one-to-one at the smallest total cost (Eq. 3), exactly.

    Args:
        source: SAE whose features are sent.
        target: SAE that receives them; of the same `d_in` and `d_sae`.
        fold: What both SAEs are folded by before they are compared (Eq. 4).
        terms: Parameters that are compared, or their weights.
        metric: `mse` is the squared distance of the folded parameters; `cosine` is one minus the
            cosine between them, all terms side by side.
        solver: `dense` holds the whole float64 cost matrix; `auto` chooses it.

    Returns:
        The matching, with the value of a feasible dual solution as `lower_bound`: the gap between
        cost and bound is rounding alone.

    Raises:
        UserError: If the SAEs do not fit each other, cannot be folded, or are not finite.
    """
    _refuse_unfit(source, target)
    if solver not in ("auto", "dense"):
        known = "solver='sparse' is not available in this version" if solver == "sparse" else f"no solver {solver!r}"
        raise UserError(f"{known}; use 'dense' or 'auto'")
    weights = term_weights(terms)
    source_vectors = feature_vectors(source, fold=fold, terms=weights, metric=metric)
    target_vectors = feature_vectors(target, fold=fold, terms=weights, metric=metric)
    assignment = solve_dense(cost_matrix(source_vectors, target_vectors))
    costs = pair_costs(source_vectors, target_vectors, assignment.permutation)
    margin = math.fsum(rounding_margin(source_vectors, target_vectors).tolist())
    return Matching(
        permutation=assignment.permutation,
        pair_cost=costs,
        lower_bound=min(assignment.lower_bound - margin, math.fsum(costs.tolist())),
        provenance={
            "solver": "dense",
            "fold": fold,
            "terms": " ".join(f"{name}={weight:g}" for name, weight in weights.items()),
            "metric": metric,
            "source": source.content_hash(),
            "target": target.content_hash(),
        },
    )


def _refuse_unfit(source: SAE, target: SAE) -> None:
    if source.d_in != target.d_in:
        raise UserError(f"the source reads activations of width {source.d_in}, the target of width {target.d_in}")
    if source.d_sae != target.d_sae:
        raise UserError(f"the source has {source.d_sae} features and the target {target.d_sae}; widths must be equal")
