"""What a causal check says of a run: rows of `results.csv` and `spans.csv`, and a table of each pair of layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Shaped
from torch import Tensor

from sae_match.evaluation.arm_names import COACTIVATION, MATCHED, RANDOM
from sae_match.evaluation.causal.effects import Effects
from sae_match.evaluation.causal.measures import (
    AGREEMENT,
    CARRIED,
    RANK,
    TOP,
    Key,
    OfFeatures,
    of_features,
    pooled,
    sums_of_classes,
    with_differences,
)
from sae_match.evaluation.causal.sample import ARMS, NEAREST_OTHER, NOT_SIGNIFICANT, SIGNIFICANT, Sample
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.over_features import Estimate, Sums, median_over_features
from sae_match.evaluation.statistics.results import Result, SpanResult

#: Metrics of all features of a pair of layers together that charts are made of.
OF_ALL = (CARRIED, AGREEMENT, TOP)


@dataclass(frozen=True)
class CausalFindings:
    """What a causal check says.

    Attributes:
        samples: Of each pair of layers, which features were switched off.
        results: Numbers of each pair of layers.
        spans: The same over the features of all pairs of layers at the same distance together.
        tables: One row a feature and dataset, of each pair of layers.
        together: Numbers of each feature on all datasets together, of each pair of layers.
    """

    samples: Mapping[Pair, Sample]
    results: Sequence[Result]
    spans: Sequence[SpanResult]
    tables: Mapping[Pair, pa.Table]
    together: Mapping[Pair, OfFeatures]

    @property
    def of_all(self) -> list[Result]:
        """Numbers of all features of a pair of layers together, without those of classes: what charts are made of."""
        return [row for row in self.results if row.metric in OF_ALL]

    @classmethod
    def of(
        cls, checked: Mapping[Pair, tuple[Sample, Effects]], datasets: Sequence[str], seed: int
    ) -> "CausalFindings | None":
        """What follows from all effects; none where nothing was switched off.

        Args:
            checked: Of each pair of layers, which features were switched off, and what followed.
            datasets: Of the text.
            seed: Of the bootstrap.
        """
        if not checked:
            return None
        results: list[Result] = []
        tables: dict[Pair, list[pa.Table]] = {}
        sums: dict[tuple[int, str], list[Mapping[Key, Sums]]] = {}
        for pair, (sample, effects) in checked.items():
            for number, dataset in enumerate(datasets):
                found = of_features(sample, effects, number)
                of_classes = sums_of_classes(sample, effects, number, dataset, seed)
                sums.setdefault((pair[1] - pair[0], dataset), []).append(of_classes)
                results += _results(pair, dataset, of_classes, found)
                tables.setdefault(pair, []).append(_table(sample, found, dataset))
        samples = {pair: sample for pair, (sample, _) in checked.items()}
        joined = {pair: pa.concat_tables(several) for pair, several in tables.items()}
        together = {pair: of_features(sample, effects) for pair, (sample, effects) in checked.items()}
        return cls(samples, results, list(_spans(sums)), joined, together)


def _results(pair: Pair, dataset: str, sums: Mapping[Key, Sums], found: OfFeatures) -> Iterator[Result]:
    tokens, documents = int(found.tokens.sum()), int(found.documents.sum())
    for (arm, metric), rows in with_differences(sums).items():
        if rows[0].isfinite():
            one = Estimate.of(rows)
            yield Result(*pair, arm, dataset, metric, one.value, one.low, one.high, tokens, documents)
    for arm, rank in found.rank.items():
        if (rank > 0).any():
            one = median_over_features(torch.where(rank > 0, rank.double(), torch.nan))
            yield Result(*pair, arm, dataset, RANK, one.value, one.low, one.high, tokens, documents)


def _spans(sums: Mapping[tuple[int, str], Sequence[Mapping[Key, Sums]]]) -> Iterator[SpanResult]:
    for (span, dataset), several in sorted(sums.items()):
        for (arm, metric), rows in with_differences(pooled(several)).items():
            if rows[0].isfinite():
                one = Estimate.of(rows)
                yield SpanResult(span, arm, dataset, metric, one.value, one.low, one.high, len(several))


def _table(sample: Sample, found: OfFeatures, dataset: str) -> pa.Table:
    """One row a feature.

    Columns: `source_layer`, `target_layer`, `dataset`, `source_feature`, `target_feature` (the partner), `cost`,
    `statistic` (mean of encoder's and decoder's cosine), `q`, `significance`; `tokens` and `documents` in which the
    source feature was switched off; of each arm `carried_ARM` and `agreement_ARM`, null where undefined, and
    `agreement_tokens_ARM`; the features `nearest_other` and `random`; `rank` of the partner by how far it falls,
    `causal_feature`, which falls farthest, and `causal_fall`, how far; `coactivation_feature` and `coactivation_rank`.
    """
    size, partners = len(sample), sample.partners
    significance = np.full(size, "not tested", dtype=object)
    for name in (SIGNIFICANT, NOT_SIGNIFICANT):
        significance[sample.classes[name].numpy()] = name.replace("_", " ")
    columns: dict[str, object] = {
        "source_layer": np.full(size, sample.pair[0]),
        "target_layer": np.full(size, sample.pair[1]),
        "dataset": pa.array([dataset] * size, pa.string()),
        "source_feature": sample.features.numpy(),
        "target_feature": partners[MATCHED].numpy(),
        "cost": sample.cost.numpy(),
        "statistic": _known(sample.statistic),
        "q": _known(sample.q),
        "significance": pa.array(significance.tolist(), pa.string()),
        "tokens": found.tokens.numpy(),
        "documents": found.documents.numpy(),
    }
    for name, values in (("carried", found.carried), ("agreement", found.agreement)):
        columns |= {f"{name}_{arm}": _known(values[:, at]) for at, arm in enumerate(ARMS)}
    columns |= {
        NEAREST_OTHER: _feature(partners[NEAREST_OTHER]),
        RANDOM: _feature(partners[RANDOM]),
        "rank": _feature(torch.where(found.rank[MATCHED] > 0, found.rank[MATCHED], -1)),
        "causal_feature": _feature(found.cause),
        "causal_fall": found.cause_fall.numpy(),
    }
    if COACTIVATION in partners:
        columns["coactivation_feature"] = _feature(partners[COACTIVATION])
        columns["coactivation_rank"] = _feature(torch.where(found.rank[COACTIVATION] > 0, found.rank[COACTIVATION], -1))
    return pa.table(columns)


def _known(values: Shaped[Tensor, " n"]) -> pa.Array:
    """Numbers, null where there is none."""
    return pa.array(values.numpy(), from_pandas=True)


def _feature(values: Shaped[Tensor, " n"]) -> pa.Array:
    """Numbers of features, null where there is none."""
    return pa.array(values.numpy(), mask=(values < 0).numpy())
