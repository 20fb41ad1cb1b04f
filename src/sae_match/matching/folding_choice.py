"""What SAEs are folded by where that is left to their kind."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sae_match.errors import UserError
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.two import Collections

log = logging.getLogger(__name__)

_THRESHOLD, _DECODER_NORM = "threshold", "decoder_norm"


def fitting_matcher(settings: MatcherSettings, saes: Collections, ends: Iterable[int]) -> MatcherSettings:
    """Settings that the SAEs can be matched by: those without thresholds are folded by decoder norms, which is said.

    Both sides are folded alike, so one SAE without thresholds decides for all.

    Args:
        settings: As given.
        saes: What is matched.
        ends: The SAEs that take part.
    """
    if settings.fold != _THRESHOLD:
        return settings
    found: dict[int, bool | None] = {}
    for end in ends:
        try:
            found[end] = saes.describe_sae(end).has_thresholds
        except UserError:
            # Said where it is opened.
            continue
    fold, note = fold_of(settings.fold, {saes.end_name(end): has for end, has in found.items()})
    if note is not None:
        log.info(note)
    return replace(settings, fold=fold)


def fold_of(fold: str, has_thresholds: Mapping[str, bool | None]) -> tuple[str, str | None]:
    """What is folded by in place of thresholds that there are not, and how that is said; none where nothing changes.

    Args:
        fold: As given.
        has_thresholds: Of each SAE, by what it is called; none where its files do not say.
    """
    without = [name for name, has in has_thresholds.items() if has is False]
    if fold != _THRESHOLD or not without:
        return fold, None
    those = "the SAEs have" if len(without) == len(has_thresholds) else f"the SAEs of layers {', '.join(without)} have"
    return _DECODER_NORM, (
        f"{those} no thresholds: all are folded by the norms of their decoder rows, as by matcher=decoder_norm"
    )
