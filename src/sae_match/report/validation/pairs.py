"""Tables of matched features, one row a pair of features and dataset."""

import numpy as np
import pyarrow as pa

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS
from sae_match.evaluation.statistics.tally import Tally
from sae_match.matching.significance.result import ALPHA
from sae_match.report.pair_tables import cheapest_first, known_by_weights


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
    source = cheapest_first(matching)
    target = matching.permutation.numpy()[source]
    known = known_by_weights(found.judged, source, alpha)
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


def _ratio(part: np.ndarray, whole: np.ndarray) -> pa.Array:
    """A share, null where there is nothing to share."""
    return pa.array(part / np.maximum(whole, 1), mask=whole == 0)
