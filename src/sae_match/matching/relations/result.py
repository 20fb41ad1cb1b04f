"""`Relations`: edges between two dictionaries, the components that they make, and the files that hold them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.relations.kinds import APPEAR, END, KINDS, NOT_TESTED, Components
from sae_match.matching.tensor_files import load_tensors, save_tensors

#: Features that a component may have to be drawn; a larger one is only told of.
MOST_DRAWN = 64
_DTYPES = {
    **dict.fromkeys(("source", "target"), torch.int64),
    **dict.fromkeys(("nearest_of_source", "nearest_of_target", "matched"), torch.bool),
}
_OF_EDGES = ("source", "target", "statistic", "whitened", "p", "q", "nearest_of_source", "nearest_of_target", "matched")


@dataclass(frozen=True)
class RelationsEvidence:
    """What relations rest on.

    Attributes:
        null: Which random dictionaries.
        statistic: Which statistic.
        rotations: How many random dictionaries.
        seed: That their seeds come from.
        alpha: Level of the edges.
        shrinkage: Of the second moment that features are whitened by, as a share of the mean spread.
        source_draws: Statistics of chance that source features are compared with.
        target_draws: The same of target features.
        source_from: Smallest whitened statistic that makes a source feature's nearest its relative; infinite where
            none does.
        target_from: The same of target features.
        matched_apart: Significant pairs of the matching that are no edges: nearest of neither, or by chance as near.
    """

    null: str
    statistic: str
    rotations: int
    seed: int
    alpha: float
    shrinkage: float
    source_draws: int
    target_draws: int
    source_from: float
    target_from: float
    matched_apart: int


@dataclass(frozen=True, eq=False)
class Edges:
    """Pairs of relatives, by source and target feature.

    Attributes:
        source: Source feature.
        target: Target feature.
        statistic: Of the pair: a mean of plain cosines, for readers.
        whitened: The same of whitened directions, by which features are near, and which p and q are of.
        p: Probability that chance gives a feature a nearest one that is as near; the smaller one where each is the
            other's nearest.
        q: Of all nearest ones that are as good or better, the share that chance accounts for; the smaller one likewise.
        nearest_of_source: Whether the target feature is the source feature's nearest.
        nearest_of_target: Whether the source feature is the target feature's nearest.
        matched: Whether the matching has this pair.
    """

    source: Int64[Tensor, " edges"]
    target: Int64[Tensor, " edges"]
    statistic: Float64[Tensor, " edges"]
    whitened: Float64[Tensor, " edges"]
    p: Float64[Tensor, " edges"]
    q: Float64[Tensor, " edges"]
    nearest_of_source: Bool[Tensor, " edges"]
    nearest_of_target: Bool[Tensor, " edges"]
    matched: Bool[Tensor, " edges"]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False, repr=False)
class Relations:
    """What became of the features of one dictionary in another.

    Attributes:
        edges: Pairs of relatives.
        components: What hangs together by them.
        source_p: Probability that chance gives a source feature a nearest one that is as near; nan of features that
            took no part or have no directions.
        target_p: The same of target features.
        evidence: What it rests on.
    """

    edges: Edges
    components: Components
    source_p: Float64[Tensor, " n_source"]
    target_p: Float64[Tensor, " n_target"]
    evidence: RelationsEvidence

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        return f"Relations({len(self.edges)} edges: {counts})"

    @property
    def source_tested(self) -> Bool[Tensor, " n_source"]:
        """Source features that took part and have directions."""
        return ~self.source_p.isnan()

    @property
    def target_tested(self) -> Bool[Tensor, " n_target"]:
        """The same of the target."""
        return ~self.target_p.isnan()

    @cached_property
    def source_kind(self) -> Int64[Tensor, " n_source"]:
        """Number of each source feature's kind, of `KINDS`."""
        return _kinds(self.components.of_source, self.components.kind, self.source_tested, END)

    @cached_property
    def target_kind(self) -> Int64[Tensor, " n_target"]:
        """Number of each target feature's kind, of `KINDS`."""
        return _kinds(self.components.of_target, self.components.kind, self.target_tested, APPEAR)

    @cached_property
    def edge_component(self) -> Int64[Tensor, " edges"]:
        """Component of each edge."""
        return self.components.of_source[self.edges.source]

    @cached_property
    def edge_kind(self) -> Int64[Tensor, " edges"]:
        """Number of the kind of each edge's component."""
        return self.components.kind[self.edge_component]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Components of each kind; features that appear, that end, and that were not tested."""
        of_components = torch.bincount(self.components.kind, minlength=APPEAR).tolist()
        single = {
            "appear": int((self.target_kind == APPEAR).sum()),
            "end": int((self.source_kind == END).sum()),
            "not tested": int((self.source_kind == NOT_TESTED).sum() + (self.target_kind == NOT_TESTED).sum()),
        }
        return dict(zip(KINDS, of_components, strict=False)) | single

    @cached_property
    def sizes(self) -> Int64[Tensor, " components"]:
        """Features of each component, of both sides."""
        return self.components.sources + self.components.targets

    def too_large(self, most: int = MOST_DRAWN) -> Int64[Tensor, " large"]:
        """Components of more features than can be drawn, the largest first: they are told of, and left out."""
        large = (self.sizes > most).nonzero().flatten()
        return large[self.sizes[large].argsort(descending=True, stable=True)]

    def largest(self, kind: int, count: int, most: int = MOST_DRAWN) -> Int64[Tensor, " some"]:
        """The largest components of a kind that can be drawn, the first of equal ones first."""
        of_kind = ((self.components.kind == kind) & (self.sizes <= most)).nonzero().flatten()
        return of_kind[self.sizes[of_kind].argsort(descending=True, stable=True)][:count]

    def surest(self, kind: int, count: int, most: int = MOST_DRAWN) -> Int64[Tensor, " some"]:
        """The components of a kind that can be drawn whose weakest edge has the highest whitened statistic."""
        weakest = torch.full((len(self.sizes),), torch.inf, dtype=torch.float64)
        weakest.scatter_reduce_(0, self.edge_component, self.edges.whitened, "amin")
        of_kind = ((self.components.kind == kind) & (self.sizes <= most)).nonzero().flatten()
        return of_kind[weakest[of_kind].argsort(descending=True, stable=True)][:count]

    def save(self, path: str | Path) -> None:
        """Write as safetensors, whole or not at all, with the evidence in the metadata."""
        tensors = {name: getattr(self.edges, name) for name in _OF_EDGES}
        of_sides = {"source_p": self.source_p, "target_p": self.target_p}
        notes = {"kind": "relations", "relations_evidence": json.dumps(asdict(self.evidence))}
        save_tensors(Path(path), {**tensors, **of_sides}, notes)

    @classmethod
    def load(cls, path: str | Path) -> "Relations":
        """Read what `save` wrote.

        Raises:
            UserError: If the file is missing, damaged or of another kind or format version.
        """
        names = (*_OF_EDGES, "source_p", "target_p")
        tensors, notes = load_tensors(Path(path), names, sealed=True, kind="relations")
        try:
            evidence = RelationsEvidence(**json.loads(notes["relations_evidence"]))
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} was not written by Relations.save: {error!r} in its metadata") from error
        _refuse_unsound(Path(path), tensors)
        edges = Edges(**{name: tensors[name] for name in _OF_EDGES})
        p = tensors["source_p"], tensors["target_p"]
        components = Components.of(edges.source, edges.target, len(p[0]), len(p[1]))
        return cls(edges, components, *p, evidence)


def _refuse_unsound(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a file whose tensors are no relations, before anything is computed from them."""
    edges = len(tensors["source"]) if tensors["source"].ndim else 0
    for name, tensor in tensors.items():
        dtype = _DTYPES.get(name, torch.float64)
        sound = tensor.dtype == dtype and tensor.ndim == 1
        if not sound or (name in _OF_EDGES and len(tensor) != edges):
            wanted = f"{dtype} [{edges if name in _OF_EDGES else 'features'}]"
            raise UserError(f"{path}: {name} must be {wanted}, got {tensor.dtype} {list(tensor.shape)}")
    for name in ("source", "target"):
        there, features = tensors[name], len(tensors[f"{name}_p"])
        if edges and not 0 <= int(there.min()) <= int(there.max()) < features:
            raise UserError(f"{path}: {name} must be among {features} features, from 0 on")


def _kinds(
    component: Int64[Tensor, " n"], kind: Int64[Tensor, " components"], tested: Bool[Tensor, " n"], alone: int
) -> Int64[Tensor, " n"]:
    single = torch.where(tested, alone, NOT_TESTED)
    # One more, for features without a component, which looks up what is not taken.
    return torch.where(component >= 0, torch.cat([kind, kind.new_zeros(1)])[component], single)
