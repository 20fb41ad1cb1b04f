"""Tables of matched features, one row a pair of features and dataset."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS
from sae_match.evaluation.statistics.tally import Tally
from sae_match.files import written_whole
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import ALPHA
from sae_match.owned import kept_in_record
from sae_match.saes.two import pair_name


def pair_table(pair: Pair, found: PairMatchings, tally: Tally, alpha: float = ALPHA) -> pa.Table:
    """The pairs of `matched` of two layers, cheapest first, with what they did on each dataset.

    Columns: `source_layer`, `target_layer`, `dataset`, `source_feature`, `target_feature`, `cost`,
    `encoder_cosine`, `decoder_cosine`; tokens on which each was active: `source_active`,
    `target_active`, `both_active`; and of these `sufficiency` (both of source), `necessity` (both of
    target) and `jaccard` (both of either), null where neither was ever active. `either_active` are the tokens that the
    latter rests on, and `activations` says whether they are `enough` (from `FEWEST_ACTIVATIONS` on) or `too few`.

    Null where nothing was judged: `statistic` (mean of both cosines), `p`, `q`; `significance`, which is `significant`
    (`q` at most alpha), `not significant` or `not tested`; `margin` to the second best; `mutual_nearest`; and whether
    encoders alone (`encoder_agrees`) and decoders alone (`decoder_agrees`) give the same partner.
    """
    matching = found.matchings[MATCHED]
    source = np.flatnonzero(matching.permutation.numpy() >= 0)
    source = source[np.argsort(matching.pair_cost.numpy()[source], kind="stable")]
    target = matching.permutation.numpy()[source]
    known = _known(found.judged, source, alpha)
    tables = []
    for dataset in tally.layout.datasets:
        active, after = (tally.active((end, dataset)).long().numpy() for end in tally.layout.ends(pair))
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
            "either_active": active + after - both,
            "activations": pa.array(np.where(active + after - both < FEWEST_ACTIVATIONS, "too few", "enough")),
            **known,
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


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


def _known(judged: Judged | None, source: np.ndarray, alpha: float) -> dict[str, pa.Array]:
    """These columns for some source features."""
    if judged is None:
        return {name: pa.nulls(len(source), kind) for name, kind in _JUDGED.items()}
    about = judged.significance
    words = np.where(about.q.isnan(), "not tested", np.where(about.q <= alpha, "significant", "not significant"))
    values = {"statistic": about.statistic, "p": about.p, "q": about.q, "significance": words}
    beside = {name: getattr(judged.beside, name) for name in list(_JUDGED)[4:]}
    return {
        # What is not known is null, as everywhere in these tables.
        name: pa.array(np.asarray(value)[source], _JUDGED[name], from_pandas=True)
        for name, value in (values | beside).items()
    }


def save_tables(tables: Mapping[Pair, pa.Table], folder: Path, names: tuple[str, str] | None = None) -> list[Path]:
    """Write each table as `L03-L04.parquet`, with the names of two collections in it; returns the files."""
    files = []
    for pair, table in tables.items():
        file = folder / f"{pair_name(pair, names)}.parquet"
        with kept_in_record(file), written_whole(file) as temporary:
            pq.write_table(table, temporary)
        files.append(file)
    return files


def _ratio(part: np.ndarray, whole: np.ndarray) -> pa.Array:
    """A share, null where there is nothing to share."""
    return pa.array(part / np.maximum(whole, 1), mask=whole == 0)
