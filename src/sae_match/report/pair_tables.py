"""Tables of matched features: what follows from weights, labels of both features, and the files that hold them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sae_match.files import written_whole
from sae_match.matching.layers import Pair
from sae_match.matching.result import Matching
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.likeness import Likeness
from sae_match.matching.significance.result import ALPHA
from sae_match.owned import kept_in_record
from sae_match.saes.two import pair_name

_JUDGED = {
    "statistic": pa.float64(),
    "p": pa.float64(),
    "q": pa.float64(),
    "significance": pa.string(),
    "margin": pa.float64(),
    "mutual_nearest": pa.bool_(),
    "encoder_agrees": pa.bool_(),
    "decoder_agrees": pa.bool_(),
}
"""Columns of what is known about a pair by weights alone."""
_LABELS = ("source_label", "target_label")


def weights_table(
    pair: Pair, matching: Matching, like: Likeness, judged: Judged | None = None, alpha: float = ALPHA
) -> pa.Table:
    """The pairs of two layers, cheapest first, as far as weights tell: no model, no text.

    Columns: `source_layer`, `target_layer`, `source_feature`, `target_feature`, `cost`, `encoder_cosine`,
    `decoder_cosine`, `statistic` (the mean of both), `p`, `q`, `significance`, `margin` to the second best,
    `mutual_nearest`, `encoder_agrees`, `decoder_agrees`. `p`, `q` and the last two are null, and `significance` is
    `not tested`, where nothing was judged.
    """
    source = cheapest_first(matching)
    known = known_by_weights(judged, source, alpha)
    if judged is None:
        known["significance"] = pa.array(["not tested"] * len(source), pa.string())
    alike = {name: getattr(like, name) for name in ("statistic", "margin", "mutual_nearest")}
    known |= {name: _array(value[source], _JUDGED[name]) for name, value in alike.items()}
    return pa.table(
        {
            "source_layer": np.full(len(source), pair[0]),
            "target_layer": np.full(len(source), pair[1]),
            "source_feature": source,
            "target_feature": matching.permutation.numpy()[source],
            "cost": matching.pair_cost.numpy()[source],
            "encoder_cosine": _array(like.encoder_cosine[source], pa.float64()),
            "decoder_cosine": _array(like.decoder_cosine[source], pa.float64()),
            **known,
        }
    )


def cheapest_first(matching: Matching) -> np.ndarray:
    """Source features that have a partner, in the order of a table's rows."""
    source = np.flatnonzero(matching.permutation.numpy() >= 0)
    return source[np.argsort(matching.pair_cost.numpy()[source], kind="stable")]


def known_by_weights(judged: Judged | None, source: np.ndarray, alpha: float) -> dict[str, pa.Array]:
    """What is known about the pairs of some source features by weights alone, by column; null where nothing is."""
    if judged is None:
        return {name: pa.nulls(len(source), kind) for name, kind in _JUDGED.items()}
    about = judged.significance
    words = np.where(about.q.isnan(), "not tested", np.where(about.q <= alpha, "significant", "not significant"))
    values = {"statistic": about.statistic, "p": about.p, "q": about.q, "significance": words}
    beside = {name: getattr(judged.beside, name) for name in list(_JUDGED)[4:]}
    return {name: _array(np.asarray(value)[source], _JUDGED[name]) for name, value in (values | beside).items()}


def labelled(table: pa.Table, source: Sequence[str], target: Sequence[str]) -> pa.Table:
    """The table with what its features are called: columns `source_label` and `target_label`, the last ones.

    Args:
        table: Of pairs.
        source: Label of each feature of the source.
        target: The same of the target.
    """
    for column, side, labels in zip(_LABELS, ("source", "target"), (source, target), strict=True):
        table = table.append_column(column, pc.take(pa.array(labels, pa.string()), table[f"{side}_feature"]))
    return table


def save_tables(tables: Mapping[Pair, pa.Table], folder: Path, names: tuple[str, str] | None = None) -> list[Path]:
    """Write each table as `L03-L04.parquet`, with the names of two collections in it; returns the files."""
    files = []
    for pair, table in tables.items():
        file = folder / f"{pair_name(pair, names)}.parquet"
        with kept_in_record(file), written_whole(file) as temporary:
            pq.write_table(table, temporary)
        files.append(file)
    return files


def _array(values: object, kind: pa.DataType) -> pa.Array:
    # What is not known is null, as everywhere in these tables.
    return pa.array(np.asarray(values), kind, from_pandas=True)
