"""The pass over the fitting text: what the arms that need text are made of, before any is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.evaluation.arm_names import COACTIVATION, LINEAR_MAP, LINEAR_MAP_SAE, MEAN
from sae_match.evaluation.fitting import ActivityRecord, LeastSquares, LinearMap, MeanVector
from sae_match.evaluation.measuring import BatchMeasurement, Subject
from sae_match.evaluation.plan import Pair
from sae_match.matching.baselines import coactivations, match_by_coactivation
from sae_match.matching.result import Matching
from sae_match.text.batches import TokenBatch


@dataclass(frozen=True)
class Fitted:
    """What was fitted.

    Attributes:
        linear: The affine map of each pair, where an arm needs it.
        coactivation: The matching of each pair by co-activation, where an arm needs it.
        means: The mean residual of each target layer, where an arm needs it.
    """

    linear: dict[Pair, LinearMap]
    coactivation: dict[Pair, Matching]
    means: dict[int, Float[Tensor, " d_in"]]


def fit(
    subject: Subject,
    pairs: Sequence[Pair],
    batches: Sequence[TokenBatch],
    device: torch.device,
    watch: Callable[[str, int, int], None],
) -> Fitted:
    """Fit on the batches what the subject's arms need.

    Args:
        subject: What will be measured.
        pairs: Pairs of layers.
        batches: Fitting text.
        device: Where the model is.
        watch: Told what is done, how much of it, and of how much.

    Raises:
        UserError: If there is too little text.
    """
    maps = bool({LINEAR_MAP, LINEAR_MAP_SAE} & set(subject.arms))
    records: dict[int, ActivityRecord] = {}
    squares: dict[Pair, LeastSquares] = {}
    layers = sorted({layer for pair in pairs for layer in pair})
    means = {target: MeanVector() for _, target in pairs} if MEAN in subject.arms else {}
    for number, batch in enumerate(batches):
        if not batch.scored.any():
            continue
        at = BatchMeasurement.captured(subject, batch.to(device), pairs, whole=False)
        if COACTIVATION in subject.arms:
            for layer in layers:
                f = at.features(layer).f
                records.setdefault(layer, ActivityRecord(f.shape[1])).add(f > 0)
                at.forget(layer)
        if maps:
            for pair in pairs:
                x, y = (at.clean.values[layer][at.batch.scored].float() for layer in pair)
                if pair not in squares:
                    squares[pair] = LeastSquares(x, y)
                squares[pair].add(x, y)
        for layer, mean in means.items():
            mean.add(at.clean.values[layer][at.batch.scored])
        watch("fitting text", number + 1, len(batches))
    return Fitted(
        {pair: sums.solution() for pair, sums in squares.items()},
        _matched(pairs, records, watch) if records else {},
        {layer: mean.solution() for layer, mean in means.items()},
    )


def _matched(
    pairs: Sequence[Pair], records: dict[int, ActivityRecord], watch: Callable[[str, int, int], None]
) -> dict[Pair, Matching]:
    matchings = {}
    for number, pair in enumerate(pairs):
        # Counts of one pair at a time: they are the largest thing here.
        counts = coactivations(records[pair[0]].matrix(), records[pair[1]].matrix())
        matchings[pair] = match_by_coactivation(counts)
        watch("matching by co-activation", number + 1, len(pairs))
    return matchings
