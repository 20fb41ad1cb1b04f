"""What is logged of a validation, from what it has found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc

from sae_match.evaluation.cautions import Caution
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.results import Results, SpanResult
from sae_match.report.tables import charts, summary
from sae_match.report.tracking.records import ValidationRecord, sampled


def record_of(
    results: Results,
    spans: Sequence[SpanResult],
    tables: Mapping[Pair, pa.Table],
    cautions: Sequence[Caution] = (),
    names: tuple[str, str] | None = None,
) -> ValidationRecord:
    """Numbers of a validation as they are logged.

    Args:
        results: Of every pair, arm and dataset.
        spans: Means over pairs of layers at the same distance.
        tables: Tables of matched features, by pair of layers.
        cautions: What should make one wary.
        names: Of two collections, if there are two.
    """
    return ValidationRecord(
        by_layer=dict(charts(results)),
        means=summary(spans),
        pairs=sampled(tables.values()) if tables else None,
        # Every pair of features has a row for each dataset, at the same cost.
        costs={
            pair: table["cost"].to_numpy()[: len(table) // max(1, len(pc.unique(table["dataset"])))]
            for pair, table in tables.items()
        },
        warnings=[asdict(one) for one in cautions],
        names=names,
    )
