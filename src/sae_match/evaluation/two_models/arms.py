"""Which arms there are between the residuals of one language model, of two, and of two that are unlike in width."""

import logging
from collections.abc import Sequence

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import (
    COACTIVATION,
    IDENTITY,
    LINEAR_MAP,
    LINEAR_MAP_SAE,
    MATCHED_MAPPED,
    MATCHING_ARMS,
    MEAN,
    OF_TWO_MODELS,
    RANDOM,
    RECONSTRUCT_TARGET,
)

log = logging.getLogger(__name__)

# Arms in which nothing of the source's width is put where the target's is expected, nor compared with it.
_ACROSS_WIDTHS = (RECONSTRUCT_TARGET, MEAN, LINEAR_MAP, LINEAR_MAP_SAE, MATCHED_MAPPED, COACTIVATION, IDENTITY, RANDOM)


def arms_between(asked: Sequence[str], widths: tuple[int, int] | None) -> list[str]:
    """Those of the asked-for arms that there are.

    Args:
        asked: In table order.
        widths: Of the source's residuals and of the target's, in two models; none where there is one model.

    Raises:
        UserError: If none is left; or weights of unlike width are to be matched, and no map between them is asked for.
    """
    if widths is None:
        found = [arm for arm in asked if arm not in OF_TWO_MODELS]
        if not found and asked:
            raise UserError(f"arms {', '.join(asked)} turn one language model into another: name it as target_model")
        return found
    if widths[0] == widths[1]:
        return list(asked)
    found = [arm for arm in asked if arm in _ACROSS_WIDTHS]
    if MATCHED_MAPPED not in found and any(arm in MATCHING_ARMS and arm not in found for arm in asked):
        raise UserError(
            f"the models' residuals are {widths[0]} and {widths[1]} wide, and features of unlike width cannot be "
            f"matched by their weights as they are: put {MATCHED_MAPPED}, which maps them first, into evaluation.arms"
        )
    if not found:
        raise UserError(
            f"arms {', '.join(asked)} put residuals of width {widths[0]} where {widths[1]} are expected; between "
            f"models of unlike width there are {', '.join(_ACROSS_WIDTHS)}"
        )
    if without := [arm for arm in asked if arm not in found]:
        log.info("models of unlike width (%d and %d): %s left out", *widths, ", ".join(without))
    if MATCHED_MAPPED in found:
        log.info(
            "models of unlike width: %s goes by a map of least squares, as no orthogonal one exists", MATCHED_MAPPED
        )
    return found
