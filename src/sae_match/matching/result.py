"""`Matching`: the result, with what is proven about it and what that took; and the files that hold it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float64, Int64
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.tensors import checksum
from sae_match.version import provenance

FORMAT_VERSION = "2"
# What the version of the package is called in `provenance`.
_VERSION = "package_version"
_CHECKSUM = "checksum"
# Bytes of the number that a file begins with, the size of its header.
_SIZE = 8


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


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that says what made its content and in which format it is; the same content, the same bytes.

    Metadata that were loaded from a file keep the version and commit that stand there.
    """
    made_by = {} if _VERSION in metadata else provenance()
    stamped = {**metadata, **made_by, "format_version": FORMAT_VERSION}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        data = to_bytes(whole, metadata={**stamped, _CHECKSUM: checksum(whole, stamped)})
        temporary.write_bytes(_in_order(data))


def load_tensors(
    path: Path, names: tuple[str, ...], *, sealed: bool = False, kind: str = "matching"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of the given names, and the metadata without the format version.

    Args:
        path: The file.
        names: Tensors that it must hold.
        sealed: Whether a file without a checksum is refused.
        kind: What it is a file of, for messages.

    Raises:
        UserError: If the file is missing, damaged, lacks a tensor or is of another format version.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        # Read whole: a file that is mapped and cut short by another process meanwhile would end this one.
        data = path.read_bytes()
        tensors = from_bytes(data)
        metadata: dict[str, str] = json.loads(data[_SIZE : _SIZE + int.from_bytes(data[:_SIZE], "little")]).get(
            "__metadata__", {}
        )
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a sound {kind} file: {error}") from error
    if missing := [name for name in names if name not in tensors]:
        raise UserError(f"{path} is not a sound {kind} file: it has no tensor {missing[0]}")
    said = metadata.pop(_CHECKSUM, None)
    stamped = dict(metadata)
    found = metadata.pop("format_version", "none")
    if found != FORMAT_VERSION:
        raise UserError(f"{path} has format version {found}, this version reads {FORMAT_VERSION}")
    if said is None and sealed:
        raise UserError(f"{path} has no checksum")
    if said is not None and said != checksum(tensors, stamped):
        raise UserError(f"{path} is damaged: it is not what its checksum says")
    return {name: tensors[name] for name in names}, metadata


def _in_order(data: bytes) -> bytes:
    """A file whose metadata are in alphabetical order: the library writes them in a new order each time."""
    size = int.from_bytes(data[:_SIZE], "little")
    header = json.loads(data[_SIZE : _SIZE + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin at multiples of eight bytes.
    text = text.ljust(-(-len(text) // _SIZE) * _SIZE)
    return len(text).to_bytes(_SIZE, "little") + text + data[_SIZE + size :]
