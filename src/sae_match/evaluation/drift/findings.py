"""What drifted between two dictionaries, and whether that goes with what a feature fires on."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import MATCHED, MATCHED_MAPPED
from sae_match.evaluation.drift.activity import DocumentActivity
from sae_match.evaluation.drift.association import associations
from sae_match.evaluation.drift.rates import FEWEST, Rates, log_ratio, preference
from sae_match.evaluation.significance.over_features import Estimate, sums_over_features
from sae_match.evaluation.statistics.results import WEIGHTS, Result
from sae_match.evaluation.validation import MatchValidation

log = logging.getLogger(__name__)

Pair = tuple[int, int]
DRIFT = "drift"
#: Cosine of decoder rows below which a direction is said to have drifted: a convention, to be read beside the numbers.
DIRECTION_CUT = 0.9


@dataclass(frozen=True)
class PairDrift:
    """Of each pair of features of two layers.

    Attributes:
        source: Source features that have a partner.
        target: Their partners.
        decoder_cosine, encoder_cosine: Of each pair.
        rates: By dataset.
        preferences: Of the source features, by the half of the documents that they are of; empty if none is asked.
        counted: Whether the feature was active often enough there for a preference.
        results: What is told of all pairs together.
        prefers: The two datasets; none if no preference is asked.
    """

    source: Int64[Tensor, " pairs"]
    target: Int64[Tensor, " pairs"]
    decoder_cosine: Float[Tensor, " pairs"]
    encoder_cosine: Float[Tensor, " pairs"]
    rates: Mapping[str, Rates]
    preferences: Sequence[Float64[Tensor, " pairs"]] = ()
    counted: Sequence[Tensor] = ()
    results: Sequence[Result] = field(default_factory=list)
    prefers: Sequence[str] = ()


def drift_of(
    pair: Pair,
    ends: tuple[int, int],
    permutation: Int64[Tensor, " n_source"],
    cosines: tuple[Float[Tensor, " n_source"], Float[Tensor, " n_source"]],
    activity: DocumentActivity,
    prefer: Sequence[str],
    seed: int,
) -> PairDrift:
    """What drifted between two layers.

    Args:
        pair: The layers.
        ends: What their features are counted by.
        permutation: Partner of each source feature.
        cosines: Of each pair's decoder rows and encoder columns.
        activity: Active tokens by document.
        prefer: Two datasets, the first of which a feature prefers if it fires on it more often; none for no question.
        seed: Of all draws.
    """
    source = (permutation >= 0).nonzero()[:, 0]
    target = permutation[source]
    decoder, encoder = (one[source].double() for one in cosines)
    rates = {name: Rates.of(activity, name, ends, (source, target), seed) for name in activity.documents}
    preferences, counted = [], []
    drifts: dict[tuple[str, str], list[Tensor]] = {("direction", WEIGHTS): []}
    if prefer:
        for half in (0, 1):
            found = [_half(activity, ends[0], name, half)[:, source].sum(0) for name in prefer]
            tokens = [float(activity.tokens(name)[half::2].sum()) for name in prefer]
            preferences.append(preference((found[0], found[1]), (tokens[0], tokens[1])))
            counted.append(found[0] + found[1] >= FEWEST)
            drifts["direction", WEIGHTS].append(1 - decoder)
            # On the other half: what makes a rate high by chance in one does not make it high in the other.
            for name in activity.documents:
                before, after = (
                    _half(activity, end, name, 1 - half)[:, of].sum(0)
                    for end, of in zip(ends, (source, target), strict=True)
                )
                ratio = log_ratio(after, before)
                drifts.setdefault(("rate", name), []).append(ratio)
                drifts.setdefault(("rate_size", name), []).append(ratio.abs())
    rows = list(_shares(pair, source, target, decoder, rates, activity, seed))
    if prefer:
        often = torch.stack([activity.counts(ends[0], name)[:, source].sum(0) for name in prefer]).sum(0)
        for (what, dataset), values in drifts.items():
            for name, one in associations(what, values, preferences, counted, often, f"{pair}", seed).items():
                rows.append(_result(pair, dataset, name, one, activity))
    return PairDrift(source, target, decoder, encoder, rates, preferences, counted, rows, tuple(prefer))


def _half(activity: DocumentActivity, end: int, dataset: str, half: int) -> Tensor:
    """Counts of every second document."""
    return activity.counts(end, dataset)[half::2]


def _shares(
    pair: Pair,
    source: Tensor,
    target: Tensor,
    decoder: Tensor,
    rates: Mapping[str, Rates],
    activity: DocumentActivity,
    seed: int,
) -> Iterator[Result]:
    every = torch.ones(len(source), dtype=torch.bool)
    known = ~decoder.isnan()
    measured = {
        "elsewhere_share": ((source != target).double(), every),
        "direction_drifted_share": ((decoder < DIRECTION_CUT).double(), known),
        "decoder_cosine": (decoder, known),
    }
    for name, sums in sums_over_features(measured, f"{pair} drift", seed).items():
        if sums.count[0]:
            yield _result(pair, WEIGHTS, name, Estimate.of(sums.mean), activity)
    for dataset, one in rates.items():
        measured = {
            "rate_drifted_share": (one.drifted.double(), one.enough),
            "rate_ratio_log": (one.ratio, one.enough),
        }
        for name, sums in sums_over_features(measured, f"{pair} drift", seed).items():
            yield _result(pair, dataset, name, Estimate.of(sums.mean), activity)


def _result(pair: Pair, dataset: str, name: str, one: Estimate, activity: DocumentActivity) -> Result:
    tokens = 0 if dataset == WEIGHTS else int(activity.tokens(dataset).sum())
    documents = 0 if dataset == WEIGHTS else len(activity.documents[dataset])
    return Result(*pair, DRIFT, dataset, name, one.value, one.low, one.high, tokens, documents)


def drifts_of(module: MatchValidation) -> dict[Pair, PairDrift]:
    """What drifted between the layers of each pair of a finished validation; empty where that was not asked."""
    found: dict[Pair, PairDrift] = {}
    prefer = module.settings.prefers or []
    for pair, one in module.matchings.items():
        arm = next((arm for arm in (MATCHED, MATCHED_MAPPED) if arm in one.matchings), None)
        if module.activity is None or arm is None:
            continue
        if unknown := [name for name in prefer if name not in module.activity.documents]:
            log.warning("evaluation.prefers: there is no dataset %s, and no preference is told", unknown[0])
            prefer = []
        unread = [name for name in prefer for half in (0, 1) if not module.activity.tokens(name)[half::2].sum()]
        if unread:
            log.warning("evaluation.prefers: too little of %s was read, and no preference is told", unread[0])
            prefer = []
        permutation = one.matchings[arm].permutation.cpu()
        if not bool((permutation >= 0).any()):
            continue
        # Directions of dictionaries that had to be mapped first are not compared: the map is part of them.
        unknown_cosines = torch.full((len(permutation),), torch.nan)
        cosines = (one.decoder_cosine, one.encoder_cosine) if arm == MATCHED else (unknown_cosines, unknown_cosines)
        ends = module.collection.ends(pair)
        found[pair] = drift_of(pair, ends, permutation, cosines, module.activity, prefer, module.settings.seed)
    return found
