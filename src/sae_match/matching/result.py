"""`Matching`: the result, with what is proven about it and what that took; and the files that hold it."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.tensor_files import load_tensors, save_pairs, save_tensors

if TYPE_CHECKING:
    import pandas

#: How many features the target has, in `Matching.provenance`: the narrower of two sides does not say it of the other.
TARGET_FEATURES = "target_features"


@dataclass(frozen=True)
class Evidence:
    """What a solution took.

    Attributes:
        solver: `dense` or `sparse`.
        reason: Why that one.
        rounds: Passes over pairs.
        pairs_priced: Pairs looked at in them; a pass over all counts each once.
        seconds: Of the wall clock, interrupted runs that were resumed included.
        peak_memory: Most bytes that were resident in this process until the end of the solution.
        proven: Whether cost and bound are within the tolerance that was asked for, or as close as float64 tells costs
            apart; none in files of versions that did not say so.
    """

    solver: str
    reason: str
    rounds: int
    pairs_priced: int
    seconds: float
    peak_memory: int
    proven: bool | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Matching:
    """Which target feature each source feature is; a sequence of partners, `None` for none: `matching[123]`.

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

    def __len__(self) -> int:
        """Source features, whether they have a partner or not."""
        return len(self.permutation)

    def __bool__(self) -> bool:
        """True: a matching is there, also where it has no features."""
        return True

    def __getitem__(self, feature: int) -> int | None:
        """The partner of a source feature; none where it has none.

        Raises:
            IndexError: If there is no such feature. Numbers below zero do not count from the end: -1 is no partner.
        """
        if not 0 <= feature < len(self):
            raise IndexError(f"there is no source feature {feature}: the matching has {len(self)}, from 0 on")
        partner = int(self.permutation[feature])
        return partner if partner >= 0 else None

    def __iter__(self) -> Iterator[int | None]:
        """The partner of each source feature, in order."""
        return (partner if partner >= 0 else None for partner in self.permutation.tolist())

    def to_pandas(self) -> "pandas.DataFrame":
        """The pairs as a table, a row a source feature with a partner: `source_feature`, `target_feature`, `cost`."""
        # Only who asks for a table waits for its library.
        from pandas import DataFrame

        source = (self.permutation >= 0).nonzero().flatten()
        columns = {
            "source_feature": source,
            "target_feature": self.permutation[source],
            "cost": self.pair_cost[source],
        }
        return DataFrame({name: column.numpy() for name, column in columns.items()})

    def export(self, path: str | Path) -> Path:
        """Write the pairs for other programs, as the ending of a name says; returns the file.

        `.parquet` and `.csv` hold what `to_pandas` gives; `.json` that and what is known of the matching; `.graphml` a
        graph of two sides, with a node a feature (`side`, `feature`) and an edge a pair (`cost`).

        Raises:
            UserError: If the name ends otherwise, or the file cannot be written.
        """
        about: dict[str, str | int | float] = {**self.provenance}
        about |= {"lower_bound": self.lower_bound, "cost": self.cost, "features": len(self)}
        return save_pairs(Path(path), self.to_pandas(), about)

    def inverse(self, features: int | None = None) -> "Matching":
        """The same pairs from target to source: which source feature each target feature is.

        The bound stays, as costs are those of pairs and have no direction: no one-to-one matching from target to
        source costs less either.

        Args:
            features: Of the target; by default what `match` has noted, or as many as the source's where those are all
                taken.

        Raises:
            UserError: If two source features may share a target, or it is not known how many features the target has
                or is told otherwise than noted.
        """
        if not self.one_to_one:
            raise UserError("source features may share a target: what is not one-to-one has no inverse")
        i = (self.permutation >= 0).nonzero().flatten()
        j = self.permutation[i]
        count = self._target_features(features, j)
        partner = torch.full((count,), -1, dtype=torch.int64)
        costs = torch.full((count,), math.nan, dtype=torch.float64)
        partner[j], costs[j] = i, self.pair_cost[i]
        notes = {_turned(name): value for name, value in self.provenance.items() if name != TARGET_FEATURES}
        notes |= {TARGET_FEATURES: str(len(self))}
        return replace(self, permutation=partner, pair_cost=costs, provenance=notes)

    def _target_features(self, told: int | None, taken: Int64[Tensor, " pairs"]) -> int:
        """How many features the target has."""
        needed = int(taken.max()) + 1 if len(taken) else 0
        noted = self.provenance.get(TARGET_FEATURES, "")
        count = int(noted) if noted.isdecimal() else len(self) if needed == len(taken) == len(self) else None
        if told is not None and noted.isdecimal() and told != count:
            raise UserError(f"features={told} is not what the matching says: its target has {noted} features")
        count = count if told is None else told
        if count is None:
            raise UserError("the matching does not say how many features its target has: inverse(features=…)")
        if count < needed:
            raise UserError(f"the matching leads to target feature {needed - 1}, and the target has {count} features")
        return count

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
        save_tensors(Path(path), tensors, {**self.provenance, **notes})

    @classmethod
    def load(cls, path: str | Path, *, sealed: bool = False) -> "Matching":
        """Read what `save` wrote.

        Args:
            path: The file.
            sealed: Whether a file without a checksum, as earlier versions wrote them, is refused.

        Raises:
            UserError: If the file is missing, damaged or of another format version.
        """
        tensors, provenance = load_tensors(Path(path), ("permutation", "pair_cost"), sealed=sealed)
        try:
            bound = float(provenance.pop("lower_bound"))
            one_to_one = bool(json.loads(provenance.pop("one_to_one")))
            evidence = Evidence(**json.loads(provenance.pop("evidence"))) if "evidence" in provenance else None
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} was not written by Matching.save: {error!r} in its metadata") from error
        return cls(tensors["permutation"], tensors["pair_cost"], bound, provenance, evidence, one_to_one)


def among_all(
    matching: Matching, source_mask: Bool[Tensor, " n_source"] | None, target_mask: Bool[Tensor, " n_target"] | None
) -> Matching:
    """A matching of the features that take part as one of all features: the others have no partner.

    Args:
        matching: Its indices count the features of the masks.
        source_mask: Source features that take part; all if none.
        target_mask: Target features that take part; all if none.
    """
    permutation, costs = matching.permutation, matching.pair_cost
    if target_mask is not None:
        kept = target_mask.cpu().nonzero().flatten()
        permutation = torch.where(permutation >= 0, kept[permutation.clamp_min(0)], -1)
    if source_mask is not None:
        permutation, costs = _spread(permutation, source_mask, -1), _spread(costs, source_mask, math.nan)
    return replace(matching, permutation=permutation, pair_cost=costs)


def _turned(name: str) -> str:
    """What a note about one side is called of the other: `source_file` for `target_file`, and so on."""
    side, _, rest = name.partition("_")
    turned = {"source": "target", "target": "source"}.get(side, side)
    return f"{turned}_{rest}" if rest else turned


def mask_notes(**masks: Bool[Tensor, " _"] | None) -> dict[str, str]:
    """What a provenance says of masks: the hash of each that there is."""
    return {name: mask_hash(mask) for name, mask in masks.items() if mask is not None}


def mask_hash(mask: Bool[Tensor, " _"]) -> str:
    """SHA-256 of which features a mask leaves."""
    return hashlib.sha256(mask.cpu().numpy().tobytes()).hexdigest()


def relative_gap(cost: float, lower_bound: float) -> float:
    """`(cost - lower_bound) / |cost|`; zero where both are equal, infinite where only the cost is zero."""
    if cost == lower_bound:
        return 0.0
    return (cost - lower_bound) / abs(cost) if cost else math.inf


def _spread(values: Tensor, mask: Bool[Tensor, " n"], absent: int | float) -> Tensor:
    everywhere = torch.full((len(mask),), absent, dtype=values.dtype)
    everywhere[mask.cpu()] = values
    return everywhere
