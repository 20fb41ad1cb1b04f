"""What a finished validation has found, as what its pictures and pages are made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.cautions import Caution, cautions_after, named_l0s
from sae_match.evaluation.drift.findings import PairDrift, drifts_of
from sae_match.evaluation.matching_error import folded, matching_errors
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.doubts import doubts
from sae_match.evaluation.significance.findings import Findings
from sae_match.evaluation.statistics.results import WEIGHTS, Result, Results, SpanResult
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cost import Term
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
        drifts: What drifted between the layers of each pair, where that was asked.
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
    drifts: Mapping[Pair, PairDrift] = field(default_factory=dict)

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
        errors = dict(_errors(module, _neighbours(module.matchings)))
        results, named = module.results if results is None else results, named_l0s(module.collection)
        spans = module.spans if spans is None else spans
        called = {layer: layer if names is None else end_name(layer, names) for layer in layers}
        dead: dict[int | str, float] = {
            called[layer]: float((facts.active == 0).double().mean()) for layer, facts in layers.items()
        }
        findings = _findings(module)
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
            drifts_of(module),
        )

    def ends(self, pair: Pair) -> tuple[int, int]:
        """What the facts of a pair of layers are kept by."""
        return ends_of(pair, self.names is not None)

    def neighbours(self) -> list[Pair]:
        """Pairs of layers at the shortest distance that was measured."""
        return _neighbours(self.matchings)

    def everything(self) -> Results:
        """The results, what significance says, and numbers of weights alone, as results of the dataset `WEIGHTS`."""
        judged = [] if self.findings is None else self.findings.results
        drifted = (row for one in self.drifts.values() for row in one.results)
        return Results([*self.results, *judged, *drifted, *self._of_weights()]).between(self.names)

    def logged(self) -> Results:
        """The results and what significance says: what charts are made of."""
        return Results([*self.results, *(() if self.findings is None else self.findings.results)]).between(self.names)

    def all_spans(self) -> list[SpanResult]:
        """The means over pairs of layers, with those of what significance says at the distances that were measured."""
        measured = {(row.span, row.arm) for row in self.spans}
        judged = [] if self.findings is None else self.findings.spans
        return [*self.spans, *(row for row in judged if (row.span, row.arm) in measured)]

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


def _findings(module: MatchValidation) -> Findings | None:
    judged = {pair: found.judged for pair, found in module.matchings.items() if found.judged is not None}
    if not judged or MATCHED not in module.scope.arms:
        return None
    return Findings.of(judged, module.tally, module.settings.alpha, module.settings.seed)


def _errors(module: MatchValidation, pairs: Sequence[Pair]) -> Iterator[tuple[tuple[Pair, str], Mapping[Term, float]]]:
    for pair in pairs:
        source, target = (folded(module.open_sae(end)) for end in module.collection.ends(pair))
        for arm, matching in module.matchings[pair].matchings.items():
            yield (pair, arm), matching_errors(source, target, matching)


def _neighbours(pairs: Iterable[Pair]) -> list[Pair]:
    every = list(pairs)
    shortest = min(target - source for source, target in every)
    return sorted(pair for pair in every if pair[1] - pair[0] == shortest)
