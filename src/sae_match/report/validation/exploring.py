"""The explorer page of a finished validation."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int64
from torch import Tensor

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.causal.findings import CausalFindings
from sae_match.evaluation.causal.sample import ARMS
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import ALPHA
from sae_match.report.explorer.data import (
    Context,
    ExplorerData,
    LayerData,
    RelationsData,
    StepCauses,
    StepData,
    StepEvidence,
)
from sae_match.report.explorer.writing import write_explorer
from sae_match.report.validation.outcome import Outcome
from sae_match.saes.two import end_name
from sae_match.semantics.descriptions import Descriptions
from sae_match.semantics.passages import Passages


def write_page(
    outcome: Outcome, folder: Path, title: str, facts: Mapping[str, str], described: Descriptions | None = None
) -> Path | None:
    """Write `report.html` and what lies beside it; none where there is no matching to explore.

    Args:
        outcome: What was found.
        folder: Run folder.
        title: What model and SAEs are called.
        facts: Shown at the top of the page.
        described: Published descriptions, and where features have pages; none for neither.
    """
    if not outcome.tables:
        return None
    shown, pairs = _shown(outcome)
    layers = [_layer(end, number, outcome, described) for end, number in shown.items()]
    steps = [_step(pair, shown, outcome) for pair in pairs]
    if hidden := sorted(outcome.tables.keys() - set(pairs)) if outcome.names is not None else []:
        facts = {**facts, "not shown": ", ".join(f"{source}→{target}" for source, target in hidden)}
    warnings = [(one.says, one.do) for one in outcome.cautions]
    alpha = ALPHA if outcome.findings is None else outcome.findings.alpha
    relations = _relations(shown, outcome)
    data = ExplorerData(title, layers, steps, facts, warnings, alpha, FEWEST_ACTIVATIONS, relations)
    return write_explorer(data, folder)


def _relations(shown: Mapping[int, int], outcome: Outcome) -> list[RelationsData]:
    """Of the pairs of layers that are shown."""
    found = []
    for pair, relations in sorted(outcome.relations.items()):
        source, target = outcome.ends(pair)
        if source in shown and target in shown:
            overlaps = {dataset: overlap for (of, dataset), overlap in outcome.overlaps.items() if of == pair}
            found.append(RelationsData(shown[source], shown[target], relations, overlaps))
    return found


def _shown(outcome: Outcome) -> tuple[dict[int, int], list[Pair]]:
    """The number of each layer on the page, in their order, and the pairs that lead from one to the next.

    Of two collections each layer stands beside its partner, the nearest if it has several: a path has two features.
    """
    if outcome.names is None:
        layers = sorted(outcome.layers)
        return {layer: layer for layer in layers}, [pair for pair in pairwise(layers) if pair in outcome.tables]
    shown: dict[int, int] = {}
    pairs: list[Pair] = []
    for pair in sorted(outcome.tables, key=lambda pair: (pair[1] - pair[0], pair)):
        if not set(outcome.ends(pair)) & shown.keys():
            pairs.append(pair)
            for end in outcome.ends(pair):
                shown[end] = len(shown)
    return shown, pairs


def _layer(end: int, number: int, outcome: Outcome, described: Descriptions | None) -> LayerData:
    facts, passages, layer = outcome.layers[end], outcome.passages, end
    return LayerData(
        layer=number,
        name=None if outcome.names is None else end_name(end, outcome.names),
        tokens=facts.tokens,
        active=facts.active,
        mean_activation=facts.mean_activation,
        labels=[_label(layer, feature, passages, described) for feature in range(len(facts.active))],
        contexts=_contexts(layer, passages),
        links=lambda feature: None if described is None else described.link(layer, feature),
    )


def _label(layer: int, feature: int, passages: Passages | None, described: Descriptions | None) -> str:
    """Its description, else what it fires on."""
    if described is not None and (text := described.of(layer, feature)):
        return text
    return "" if passages is None else passages.label(layer, feature)


def _contexts(layer: int, passages: Passages | None) -> Callable[[int], Sequence[Context]]:
    def strongest(feature: int) -> Sequence[Context]:
        if passages is None:
            return []
        return [
            Context(found.tokens, found.position, found.place.value, found.place.dataset, found.place.document)
            for found in passages.strongest(layer, feature)
        ]

    return strongest


def _step(pair: Pair, shown: Mapping[int, int], outcome: Outcome) -> StepData:
    source, target = outcome.ends(pair)
    found = outcome.matchings[pair]
    matching = found.matchings[MATCHED]
    return StepData(
        source_layer=shown[source],
        target_layer=shown[target],
        permutation=matching.permutation,
        cost=matching.pair_cost,
        encoder_cosine=found.encoder_cosine,
        decoder_cosine=found.decoder_cosine,
        both=_together(outcome.tables[pair], len(matching.permutation)),
        evidence=None if found.judged is None else _evidence(found.judged),
        causes=None if outcome.causal is None else _causes(outcome.causal, pair, len(matching.permutation)),
    )


def _causes(causal: CausalFindings, pair: Pair, features: int) -> StepCauses:
    """What partners do on all datasets together, of every feature of the source."""
    sample, found = causal.samples[pair], causal.together[pair]
    carried, agreement = (torch.full((features,), torch.nan, dtype=torch.float64) for _ in range(2))
    rank = torch.zeros(features, dtype=torch.int64)
    at = ARMS.index(MATCHED)
    carried[sample.features], agreement[sample.features] = found.carried[:, at], found.agreement[:, at]
    rank[sample.features] = found.rank[MATCHED]
    return StepCauses(carried, rank, agreement)


def _evidence(judged: Judged) -> StepEvidence:
    about, beside = judged.significance, judged.beside
    words = (beside.mutual_nearest, beside.encoder_agrees, beside.decoder_agrees)
    return StepEvidence(about.q, about.p, about.statistic, beside.margin, *words)


def _together(table: pa.Table, features: int) -> Int64[Tensor, " n_source"]:
    """Tokens on which both features of each pair were active, on all datasets."""
    both = np.zeros(features, dtype=np.int64)
    np.add.at(both, table["source_feature"].to_numpy(), table["both_active"].to_numpy())
    return torch.from_numpy(both)
