"""The arms by name, and in the order in which tables show them."""

import re
from difflib import get_close_matches

from sae_match.errors import UserError

CLEAN = "clean"
LAYER_DROP = "layer_drop"
MEAN = "mean"
RECONSTRUCT_TARGET = "reconstruct_target"
RECONSTRUCT_SOURCE = "reconstruct_source"
LINEAR_MAP = "linear_map"
LINEAR_MAP_SAE = "linear_map_sae"
PROCRUSTES = "procrustes"
MATCHED = "matched"
MATCHED_SIGNIFICANT = "matched_significant"
MATCHED_UNFOLDED = "matched_unfolded"
MATCHED_MAPPED = "matched_mapped"
SWAPPED = "swapped"
SWAPPED_SIGNIFICANT = "swapped_significant"
COMPOSED = "composed"
COACTIVATION = "coactivation"
NEAREST = "nearest"
IDENTITY = "identity"
RANDOM = "random"

#: Arms that send features through a matching, and can be asked for a matching score.
MATCHING_ARMS = (MATCHED, MATCHED_UNFOLDED, MATCHED_MAPPED, COMPOSED, COACTIVATION, NEAREST, IDENTITY, RANDOM)
#: Arms that are fitted on text that is never evaluated.
FITTED_ARMS = (MEAN, LINEAR_MAP, LINEAR_MAP_SAE, PROCRUSTES, MATCHED_MAPPED, COACTIVATION)
#: Arms that treat significant pairs otherwise than the others.
JUDGED_ARMS = (MATCHED_SIGNIFICANT, SWAPPED_SIGNIFICANT)
#: Arms that say what lies between two residuals: of one layer of one model there is nothing to leave out, or to map.
BETWEEN_LAYERS = (LAYER_DROP, LINEAR_MAP, LINEAR_MAP_SAE)
#: Arms that first turn what one model says into the coordinates of another.
OF_TWO_MODELS = (PROCRUSTES, MATCHED_MAPPED)
#: Arms that do not depend on the source layer: measured once a target.
OF_TARGET_ALONE = (RECONSTRUCT_TARGET, MEAN)
#: Every arm with a name of its own, in the order in which tables show them.
ARMS = (
    RECONSTRUCT_TARGET,
    RECONSTRUCT_SOURCE,
    LAYER_DROP,
    MEAN,
    LINEAR_MAP,
    LINEAR_MAP_SAE,
    PROCRUSTES,
    MATCHED,
    MATCHED_SIGNIFICANT,
    MATCHED_UNFOLDED,
    MATCHED_MAPPED,
    SWAPPED,
    SWAPPED_SIGNIFICANT,
    COMPOSED,
    COACTIVATION,
    NEAREST,
    IDENTITY,
    RANDOM,
)
#: Arms in which the cheapest pairs only are matched, such as `quantile_0.5`, stand before `identity`.
_QUANTILE = re.compile(r"quantile_(\d+(?:\.\d+)?|\.\d+|-.*)")
_AFTER = ARMS.index(IDENTITY)


def order_of(arm: str) -> tuple[int, float]:
    """Where an arm stands in tables; one that another version has measured stands last."""
    if arm == CLEAN:
        return -1, 0.0
    quantile = quantile_of(arm)
    if quantile is not None:
        return _AFTER, quantile - 2
    return (ARMS.index(arm) if arm in ARMS else len(ARMS)), 0.0


def quantile_of(arm: str) -> float | None:
    """The `q` of an arm `quantile_q`; none for other arms."""
    match = _QUANTILE.fullmatch(arm)
    return None if match is None else float(match[1])


def checked_arms(names: list[str]) -> list[str]:
    """The asked-for arms in table order.

    Raises:
        UserError: If one does not exist; the message offers the nearest.
    """
    if not names:
        raise UserError(f"evaluation.arms is empty; choose among {', '.join(ARMS)}")
    for name in names:
        _refuse_unknown(name)
    return sorted({_spelt(name): None for name in names}, key=order_of)


def _spelt(name: str) -> str:
    """An arm's name in one spelling: `quantile_.50` is `quantile_0.5`."""
    quantile = quantile_of(name)
    return name if quantile is None else f"quantile_{quantile:g}"


def _refuse_unknown(name: str) -> None:
    match = _QUANTILE.fullmatch(name)
    if match is not None:
        try:
            inside = not match[1].startswith("-") and float(match[1]) <= 1
        except ValueError:
            inside = False
        if not inside:
            raise UserError(f"arm {name!r}: the quantile must lie between 0 and 1, as in quantile_0.5")
    elif name not in ARMS:
        near = [] if name == CLEAN else get_close_matches(name, (*ARMS, "quantile_0.5"), n=1)
        hint = f"did you mean {near[0]}? There are" if near else "there are"
        known = f"{', '.join(ARMS)}, quantile_Q"
        raise UserError(f"unknown arm {name!r}; {hint} {known} ({CLEAN} is always there)")
