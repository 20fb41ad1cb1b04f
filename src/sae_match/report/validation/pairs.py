"""Tables of matched features, one row a pair of features and dataset."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.tally import Tally
from sae_match.files import written_whole
from sae_match.owned import kept_in_record


def pair_table(pair: Pair, found: PairMatchings, tally: Tally) -> pa.Table:
    """The pairs of `matched` of two layers, cheapest first, with what they did on each dataset.

    Columns: `source_layer`, `target_layer`, `dataset`, `source_feature`, `target_feature`, `cost`,
    `encoder_cosine`, `decoder_cosine`; tokens on which each was active: `source_active`,
    `target_active`, `both_active`; and of these `sufficiency` (both of source), `necessity` (both of
    target) and `jaccard` (both of either), null where neither was ever active.
    """
    matching = found.matchings[MATCHED]
    source = np.flatnonzero(matching.permutation.numpy() >= 0)
    source = source[np.argsort(matching.pair_cost.numpy()[source], kind="stable")]
    target = matching.permutation.numpy()[source]
    tables = []
    for dataset in tally.layout.datasets:
        active, after = (tally.active((layer, dataset)).long().numpy() for layer in pair)
        both = tally.joint((pair, MATCHED, dataset)).long().numpy()[source]
        active, after = active[source], after[target]
        columns = {
            "source_layer": np.full(len(source), pair[0]),
            "target_layer": np.full(len(source), pair[1]),
            "dataset": pa.array([dataset] * len(source), pa.string()),
            "source_feature": source,
            "target_feature": target,
            "cost": matching.pair_cost.numpy()[source],
            "encoder_cosine": found.encoder_cosine.numpy()[source],
            "decoder_cosine": found.decoder_cosine.numpy()[source],
            "source_active": active,
            "target_active": after,
            "both_active": both,
            "sufficiency": _ratio(both, active),
            "necessity": _ratio(both, after),
            "jaccard": _ratio(both, active + after - both),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def save_tables(tables: Mapping[Pair, pa.Table], folder: Path) -> list[Path]:
    """Write each table as `L03-L04.parquet`; returns the files."""
    files = []
    for (source, target), table in tables.items():
        file = folder / f"L{source:02d}-L{target:02d}.parquet"
        with kept_in_record(file), written_whole(file) as temporary:
            pq.write_table(table, temporary)
        files.append(file)
    return files


def _ratio(part: np.ndarray, whole: np.ndarray) -> pa.Array:
    """A share, null where there is nothing to share."""
    return pa.array(part / np.maximum(whole, 1), mask=whole == 0)
