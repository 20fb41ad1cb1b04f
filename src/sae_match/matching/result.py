"""`Matching`: the result, with what is proven about it."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching import storage
from sae_match.matching.rounds import relative_gap
from sae_match.matching.solving import Evidence


@dataclass(frozen=True, eq=False, repr=False)
class Matching:
    """Which target feature each source feature is.

    Attributes:
        permutation: Target feature of each source feature, -1 where there is none.
        pair_cost: Cost of each pair, nan where there is none or it is not known.
        lower_bound: No one-to-one matching costs less, where pairs may be rejected after the savings
            are counted; minus infinity where nothing is proven.
        provenance: How the matching was found: solver, settings, content hashes of both SAEs.
        evidence: What finding it took; none for what was not solved for.
        one_to_one: Whether no two source features share a target.

    Raises:
        UserError: If two source features share a target, or shapes or dtypes are wrong.
    """

    permutation: Int64[Tensor, " n_source"]
    pair_cost: Float64[Tensor, " n_source"]
    lower_bound: float = -math.inf
    provenance: dict[str, str] = field(default_factory=dict)
    evidence: Evidence | None = None
    one_to_one: bool = True

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
        if self.one_to_one and len(taken.unique()) != len(taken):
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

    @property
    def gap(self) -> float:
        """`(cost - lower_bound) / |cost|`: how far, relatively, the cost can be from the optimum."""
        return relative_gap(self.cost, self.lower_bound)

    def save(self, path: str | Path) -> None:
        """Write as safetensors, whole or not at all, with the provenance in the metadata."""
        tensors = {"permutation": self.permutation, "pair_cost": self.pair_cost}
        notes = {"lower_bound": repr(self.lower_bound), "one_to_one": json.dumps(self.one_to_one)}
        if self.evidence is not None:
            notes["evidence"] = json.dumps(asdict(self.evidence))
        storage.save(Path(path), tensors, {**self.provenance, **notes})

    @classmethod
    def load(cls, path: str | Path) -> "Matching":
        """Read what `save` wrote.

        Raises:
            UserError: If the file is missing, damaged or of another format version.
        """
        tensors, provenance = storage.load(Path(path), ("permutation", "pair_cost"))
        try:
            bound = float(provenance.pop("lower_bound"))
            one_to_one = bool(json.loads(provenance.pop("one_to_one")))
            evidence = Evidence(**json.loads(provenance.pop("evidence"))) if "evidence" in provenance else None
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} was not written by Matching.save: {error!r} in its metadata") from error
        return cls(tensors["permutation"], tensors["pair_cost"], bound, provenance, evidence, one_to_one)
