"""Tables of what is known of each layer's features, and the labels that stand beside pairs as well."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sae_match.evaluation.plan import Pair
from sae_match.files import written_whole
from sae_match.owned import kept_in_record
from sae_match.report.pair_tables import labelled
from sae_match.report.validation.outcome import Outcome
from sae_match.saes.two import end_file, end_name, layer_of
from sae_match.semantics.descriptions import Descriptions
from sae_match.semantics.features.table import Activity, feature_table

Labels = Mapping[int, list[str]]
"""What the features of each end are called."""


def save_features(outcome: Outcome, folder: Path, described: Descriptions | None = None) -> Labels:
    """Write a table of each layer's features as `L03.parquet`, with the name of its collection where there are two.

    Args:
        outcome: What was found.
        folder: Of the tables.
        described: Published descriptions; none for none.
    """
    labels: dict[int, list[str]] = {}
    for end in outcome.layers:
        # One at a time: contexts take memory.
        table = _table(end, outcome, described)
        file = folder / f"{end_file(end, outcome.names)}.parquet"
        with kept_in_record(file), written_whole(file) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        labels[end] = table["label"].to_pylist()
    return labels


def with_labels(outcome: Outcome, labels: Labels) -> Mapping[Pair, pa.Table]:
    """The tables of pairs with what both features are called; as they are where that is not known of both ends."""
    tables = dict(outcome.tables)
    for pair, table in tables.items():
        source, target = outcome.ends(pair)
        if {source, target} <= labels.keys():
            tables[pair] = labelled(table, labels[source], labels[target])
    return tables


def _table(end: int, outcome: Outcome, described: Descriptions | None) -> pa.Table:
    facts = outcome.layers[end]
    activity = Activity(facts.active_on, facts.mean_activation, facts.tokens)
    collection = None if outcome.names is None else end_name(end, outcome.names).partition("@")[2]
    return feature_table(end, layer_of(end), activity, outcome.passages, described, collection)
