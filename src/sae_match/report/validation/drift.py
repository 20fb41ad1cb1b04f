"""What drifted between two dictionaries: a table of each pair of layers, and a short one for the terminal."""

from collections.abc import Mapping

import pyarrow as pa
from rich.console import Console

from sae_match.evaluation.drift.findings import PairDrift
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.results import Result
from sae_match.report.tables import plain_table
from sae_match.terminal import say


def drift_tables(drifts: Mapping[Pair, PairDrift]) -> dict[Pair, pa.Table]:
    """One row a pair of features and dataset, of each pair of layers.

    Columns: `source_layer`, `target_layer`, `dataset`, `source_feature`, `target_feature`, `decoder_cosine`,
    `encoder_cosine`, `source_rate`, `target_rate`, `log_rate_ratio` with `low` and `high` (95 % over documents), and
    `rate_drifted`, null where neither is active often enough to tell.
    """
    return {pair: pa.concat_tables(_tables(pair, one)) for pair, one in drifts.items()}


def _tables(pair: Pair, one: PairDrift) -> list[pa.Table]:
    found = []
    for dataset, rates in one.rates.items():
        columns = {
            "source_layer": [pair[0]] * len(one.source),
            "target_layer": [pair[1]] * len(one.source),
            "dataset": [dataset] * len(one.source),
            "source_feature": one.source.numpy(),
            "target_feature": one.target.numpy(),
            "decoder_cosine": pa.array(one.decoder_cosine.numpy(), from_pandas=True),
            "encoder_cosine": pa.array(one.encoder_cosine.numpy(), from_pandas=True),
            "source_rate": rates.source.numpy(),
            "target_rate": rates.target.numpy(),
            "log_rate_ratio": rates.ratio.numpy(),
            "low": rates.low.numpy(),
            "high": rates.high.numpy(),
            "rate_drifted": pa.array(rates.drifted.numpy(), mask=~rates.enough.numpy()),
        }
        found.append(pa.table(columns))
    return found


def print_drift(console: Console, drifts: Mapping[Pair, PairDrift]) -> None:
    """Shares that drifted, and whether that goes with what features prefer; nothing where it was not asked."""
    if not drifts:
        return
    say(console, ("\nWhat drifted? (95 % intervals over features; permuted: preferences dealt out anew)", "bold"))
    table = plain_table("layers", "text", "what", "value", "from", "to")
    for pair, one in drifts.items():
        for row in one.results:
            cells = (row.metric, f"{row.value:.3f}", _end(row, "low"), _end(row, "high"))
            table.add_row(f"{pair[0]} → {pair[1]}", row.dataset, *cells)
    console.print(table)


def _end(row: Result, name: str) -> str:
    value = getattr(row, name)
    return "-" if value is None else f"{value:.3f}"
