"""What a finished validation has found, as what its pictures and pages are made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import MATCHED, MATCHED_MAPPED
from sae_match.evaluation.causal.findings import OF_ALL, CausalFindings
from sae_match.evaluation.cautions import Caution, cautions_after, named_l0s
from sae_match.evaluation.drift.findings import PairDrift, drifts_of
from sae_match.evaluation.matching_error import folded, matching_errors
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.provenance.findings import results_of as provenance_results
from sae_match.evaluation.provenance.study import Provenance, ProvenanceStudy
from sae_match.evaluation.relations.findings import results_of as relations_results
from sae_match.evaluation.relations.findings import space_of_the_alone
from sae_match.evaluation.relations.overlap import Overlap
from sae_match.evaluation.relations.stitching import Stitching
from sae_match.evaluation.significance.doubts import doubts
from sae_match.evaluation.significance.findings import Findings
from sae_match.evaluation.statistics.results import WEIGHTS, Result, Results, SpanResult
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cost import Term
from sae_match.matching.relations.result import Relations
from sae_match.matching.relations.subspaces import SpaceOverlap
from sae_match.report.validation.pairs import pair_table
from sae_match.saes.two import end_name, ends_of
from sae_match.semantics.passages import Passages


@dataclass(frozen=True)
class LayerFacts:
    """What is known of the features of a layer.

    Attributes:
        threshold: Of each feature; none where the SAE has no thresholds.
        decoder_norm: Norm of each feature's decoder row.
        active: Tokens on which each feature was active, of all datasets.
        mean_activation: Mean value of each feature where it is active; nan where it never was.
        tokens: Tokens in all.
        active_on: Tokens on which each feature was active, by dataset.
    """

    threshold: Float64[Tensor, " d_sae"] | None
    decoder_norm: Float64[Tensor, " d_sae"]
    active: Int64[Tensor, " d_sae"]
    mean_activation: Float64[Tensor, " d_sae"]
    tokens: int
    active_on: Mapping[str, Int64[Tensor, " d_sae"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a finished validation has found.

    Attributes:
        results: Every metric of every pair, arm and dataset.
        spans: Their means over pairs of layers at the same distance.
        matchings: Of each pair of layers, under each arm.
        tables: Table of matched features of each pair of layers; empty without the arm `matched`.
        layers: Facts by layer, or by end where there are two collections.
        errors: Matching error of each pair of neighbours and arm, by term.
        passages: Where features fire; none where that was not collected.
        cautions: What should make one wary, the gravest first.
        findings: Which pairs are matches, and what that means; none where nothing was judged.
        names: Of two collections, if there are two.
        relations: What became of the features of each pair of layers; empty where that was not asked.
        overlaps: What relatives do on each dataset, by pair of layers and dataset; likewise.
        stitched: What each target feature adds to the source's dictionary, by pair of layers and dataset; of two
            dictionaries of one layer, where relations were asked for.
        spaces: What the features that only one of two dictionaries has write to; where both have as many.
        seed: Of all intervals.
        drifts: What drifted between the layers of each pair, where that was asked.
        causal: What switching features off says; none where that was not asked.
        provenance: Where the features of each layer come from, where that was asked.
    """

    results: Results
    spans: Sequence[SpanResult]
    matchings: Mapping[Pair, PairMatchings]
    tables: Mapping[Pair, pa.Table]
    layers: Mapping[int, LayerFacts]
    errors: Mapping[tuple[Pair, str], Mapping[Term, float]]
    passages: Passages | None = None
    cautions: Sequence[Caution] = ()
    findings: Findings | None = None
    names: tuple[str, str] | None = None
    relations: Mapping[Pair, Relations] = field(default_factory=dict)
    overlaps: Mapping[tuple[Pair, str], Overlap] = field(default_factory=dict)
    stitched: Mapping[tuple[Pair, str], Stitching] = field(default_factory=dict)
    spaces: Mapping[Pair, SpaceOverlap] = field(default_factory=dict)
    seed: int = 0
    drifts: Mapping[Pair, PairDrift] = field(default_factory=dict)
    causal: CausalFindings | None = None
    provenance: Provenance | None = None

    @classmethod
    def of(
        cls,
        module: MatchValidation,
        passages: Passages | None = None,
        results: Results | None = None,
        spans: Sequence[SpanResult] | None = None,
    ) -> "Outcome":
        """What a module has found that was validated; its SAEs are opened once more, two at a time.

        Args:
            module: Validated.
            passages: Where features fire.
            results: The module's, where they are at hand: adding them up takes a while.
            spans: As well.
        """
        names = module.collection.names
        tables = {
            pair: pair_table(pair, found, module.tally, module.settings.alpha)
            for pair, found in module.matchings.items()
            if MATCHED in module.scope.arms
        }
        layers = {layer: _facts(module, layer) for layer in module.scope.ends}
        for pair, table in tables.items():
            source, target = module.collection.ends(pair)
            tables[pair] = _with_norms(table, layers[source], layers[target])
        errors = dict(_errors(module, _neighbours(module.matchings)))
        results, named = module.results if results is None else results, named_l0s(module.collection)
        spans = module.spans if spans is None else spans
        called = {layer: layer if names is None else end_name(layer, names) for layer in layers}
        dead: dict[int | str, float] = {
            called[layer]: float((facts.active == 0).double().mean()) for layer, facts in layers.items()
        }
        findings, on_text = _findings(module), module.state.relatives
        relations = {pair: found.related for pair, found in module.matchings.items() if found.related is not None}
        cautions = [*cautions_after(results, dead, named), *(doubts(findings) if findings else ())]
        return cls(
            results,
            spans,
            module.matchings,
            tables,
            layers,
            errors,
            passages,
            cautions,
            findings,
            names,
            relations,
            on_text.overlaps,
            on_text.stitched,
            dict(_spaces(module)),
            module.settings.seed,
            drifts_of(module),
            CausalFindings.of(module.state.causal, list(module.tally.layout.datasets), module.settings.seed),
            next((one.found() for one in module.around.observers if isinstance(one, ProvenanceStudy)), None),
        )

    def ends(self, pair: Pair) -> tuple[int, int]:
        """What the facts of a pair of layers are kept by."""
        return ends_of(pair, self.names is not None)

    def neighbours(self) -> list[Pair]:
        """Pairs of layers at the shortest distance that was measured."""
        return _neighbours(self.matchings)

    def everything(self) -> Results:
        """The results, what significance and relations say, and numbers of weights alone (dataset `WEIGHTS`)."""
        judged = [] if self.findings is None else self.findings.results
        caused = [] if self.causal is None else self.causal.results
        told = [*judged, *self._drifted(), *self.of_relations, *self.of_provenance, *caused, *self._of_weights()]
        return Results([*self.results, *told]).between(self.names)

    def logged(self) -> Results:
        """The results and what significance and relations say: what charts are made of."""
        judged = [] if self.findings is None else self.findings.results
        caused = [] if self.causal is None else self.causal.of_all
        told = [*judged, *self._drifted(), *self.of_relations, *self.of_provenance, *caused]
        return Results([*self.results, *told]).between(self.names)

    def _drifted(self) -> Iterator[Result]:
        return (row for one in self.drifts.values() for row in one.results)

    @cached_property
    def of_relations(self) -> list[Result]:
        """What became of features, and what relatives do on text, as results."""
        found: list[Result] = []
        for pair, relations in self.relations.items():
            overlaps = {dataset: one for (at, dataset), one in self.overlaps.items() if at == pair}
            stitched = {dataset: one for (at, dataset), one in self.stitched.items() if at == pair}
            space = self.spaces.get(pair)
            found += relations_results(pair, relations, overlaps, stitched, space, seed=self.seed)
        return found

    @cached_property
    def of_provenance(self) -> list[Result]:
        """Where features come from, as results."""
        return [] if self.provenance is None else list(provenance_results(self.provenance))

    def all_spans(self) -> list[SpanResult]:
        """The means over pairs of layers, with those of what significance says at the distances that were measured."""
        measured = {(row.span, row.arm) for row in self.spans}
        judged = [] if self.findings is None else self.findings.spans
        caused = [] if self.causal is None else self.causal.spans
        return [*self.spans, *(row for row in judged if (row.span, row.arm) in measured), *caused]

    def logged_spans(self) -> list[SpanResult]:
        """The same, of what switching features off says without classes of features."""
        caused = [] if self.causal is None else self.causal.spans
        return [row for row in self.all_spans() if row not in caused or row.metric in OF_ALL]

    def _of_weights(self) -> Iterator[Result]:
        for (pair, arm), terms in self.errors.items():
            for term, value in terms.items():
                yield Result(*pair, arm, WEIGHTS, f"mse_{term}", value, None, None, 0, 0)


def _facts(module: MatchValidation, layer: int) -> LayerFacts:
    sae, tally = module.open_sae(layer), module.tally
    keys = [(layer, dataset) for dataset in tally.layout.datasets]
    tokens = [float(tally.l0(key)[0, 1]) for key in keys]
    active_on = {dataset: tally.active((layer, dataset)).long() for dataset in tally.layout.datasets}
    active = torch.stack(list(active_on.values())).sum(0)
    total = torch.stack([module.survey.mean_features(key) * count for key, count in zip(keys, tokens, strict=True)])
    return LayerFacts(
        threshold=None if sae.threshold is None else sae.threshold.double().cpu(),
        decoder_norm=sae.W_dec.double().norm(dim=1).cpu(),
        active=active,
        mean_activation=torch.where(active > 0, total.sum(0) / active, torch.nan),
        tokens=int(sum(tokens)),
        active_on=active_on,
    )


def _with_norms(table: pa.Table, source: LayerFacts, target: LayerFacts) -> pa.Table:
    """A table of matched features with the folded norms of both."""
    for side, facts in (("source", source), ("target", target)):
        norms = facts.decoder_norm * (1.0 if facts.threshold is None else facts.threshold)
        table = table.append_column(f"{side}_norm", pa.array(norms.numpy()[table[f"{side}_feature"].to_numpy()]))
    return table


def _findings(module: MatchValidation) -> Findings | None:
    judged = {pair: found.judged for pair, found in module.matchings.items() if found.judged is not None}
    if not judged or MATCHED not in module.scope.arms:
        return None
    return Findings.of(judged, module.tally, module.settings.alpha, module.settings.seed)


def _errors(module: MatchValidation, pairs: Sequence[Pair]) -> Iterator[tuple[tuple[Pair, str], Mapping[Term, float]]]:
    for pair in pairs:
        source, target = (folded(module.open_sae(end)) for end in module.collection.ends(pair))
        if source.d_in != target.d_in:
            continue
        for arm, matching in module.matchings[pair].matchings.items():
            # That one is of a dictionary that was turned first.
            if arm != MATCHED_MAPPED:
                yield (pair, arm), matching_errors(source, target, matching)


def _spaces(module: MatchValidation) -> Iterator[tuple[Pair, SpaceOverlap]]:
    for pair in dict.fromkeys(pair for pair, _ in module.state.relatives.stitched):
        judged = module.matchings[pair].judged
        if judged is not None:
            source, target = (module.open_sae(end).to("cpu") for end in module.collection.ends(pair))
            about = judged.significance, module.settings.alpha, module.settings.seed
            # Of a wider dictionary most features are alone in a matching: it has one partner for each of the narrower.
            alike = source.d_sae == target.d_sae
            if alike and (space := space_of_the_alone(source, target, *about)) is not None:
                yield pair, space


def _neighbours(pairs: Iterable[Pair]) -> list[Pair]:
    every = list(pairs)
    shortest = min(target - source for source, target in every)
    return sorted(pair for pair in every if pair[1] - pair[0] == shortest)
