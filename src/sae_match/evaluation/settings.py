"""What a validation can be told to measure."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import ARMS, FITTED_ARMS, JUDGED_ARMS, MATCHED, MATCHED_MAPPED, checked_arms
from sae_match.evaluation.causal.settings import CausalSettings, refuse_impossible_causal
from sae_match.matching.significance.settings import (
    ROTATIONS,
    random_targets_of,
    refuse_impossible_judging,
)
from sae_match.saes.settings import refuse_unknown_fold

log = logging.getLogger(__name__)


@dataclass
class EvaluationSettings:
    """What is measured.

    Attributes:
        arms: Names of arms; `clean` is always there.
        spans: Distances between source and target layer; 1 for neighbours.
        pairs: Source layer and target layer of each pair, in place of `spans`; by default none are named.
        fitting_documents: Documents of each dataset for the arms that are fitted; none of them is
            evaluated.
        carry: What values are rescaled by on their way from source to target: `threshold` (the ratio of thresholds),
            `decoder_norm` (the inverse ratio of decoder rows' norms) or `none`; by default what the matcher folds by.
            `matched_unfolded` never rescales.
        seed: Of the arm `random` and of the bootstrap.
        rotations: Random targets that the matching of two layers is judged against, which says which of its pairs are
            matches; each takes as long as a matching. Zero: none is judged, and the arms that need it are left out, but
            where `relations` are asked for, which need some.
        alpha: Level at which a pair counts as significant: of the significant pairs, at most this share is wrong.
        drift: Whether it is told how features of two collections differ in how often they fire and where they point; by
            default where these read two language models.
        prefers: Two datasets, such as `[code, prose]`: does drift go with firing more often on the first? Not asked by
            default.
        memory: Gigabytes, of which half is for open SAEs and a fifth for residuals; by default what is free. What does
            not fit is read, or computed, again.
        relations: Whether it is told what became of every feature (one to one, split, merged, new or gone), and what
            relatives do on the text. Takes as long again as the matchings.
        causal: Which features are switched off, to see whether their partners follow; by default none.
    """

    arms: list[str] = field(default_factory=lambda: [*ARMS, "quantile_0.1", "quantile_0.5", "quantile_0.7"])
    spans: list[int] = field(default_factory=lambda: [1])
    pairs: Any = None
    fitting_documents: int = 64
    carry: str | None = None
    seed: int = 0
    rotations: int = ROTATIONS
    alpha: float = 0.05
    memory: float | None = None
    drift: bool | None = None
    prefers: list[str] | None = None
    relations: bool = False
    causal: CausalSettings = field(default_factory=CausalSettings)

    def __post_init__(self) -> None:
        refuse_impossible(self)

    @property
    def random_targets(self) -> int:
        """Random targets that `matched` is judged against."""
        return random_targets_of(self.rotations, self.relations)


def refuse_impossible(settings: EvaluationSettings) -> None:
    """Check names and numbers.

    Raises:
        UserError: If one cannot be.
    """
    arms = checked_arms(settings.arms)
    refuse_impossible_judging(settings.rotations, settings.alpha, "evaluation.")
    if not settings.random_targets and set(arms) <= set(JUDGED_ARMS):
        raise UserError(
            f"arms {', '.join(arms)} need to know which pairs are significant: set evaluation.rotations to at least 1"
        )
    if settings.relations and MATCHED not in arms:
        raise UserError(
            "evaluation.relations=true asks which features are nearer than chance, of the arm matched: have matched "
            "among evaluation.arms"
        )
    refuse_impossible_causal(settings.causal)
    if settings.causal.asked and MATCHED not in arms:
        raise UserError("evaluation.causal asks what matched features cause: have matched among evaluation.arms")
    refuse_impossible_spans(settings.spans)
    if settings.pairs is not None:
        refuse_other_than_pairs(settings.pairs)
    if set(arms) & set(FITTED_ARMS) and settings.fitting_documents < 1:
        raise UserError(f"evaluation.fitting_documents must be at least 1, got {settings.fitting_documents}")
    if settings.carry is not None:
        refuse_unknown_fold(settings.carry, "evaluation.carry")
    if settings.prefers is not None and len(set(settings.prefers)) != 2:
        raise UserError(f"evaluation.prefers must be two datasets such as [code,prose], got {settings.prefers}")
    if settings.memory is not None and not 0 < settings.memory < math.inf:
        raise UserError(f"evaluation.memory must be a positive number of gigabytes, got {settings.memory}")
    if not 0 <= settings.seed < 2**62:
        raise UserError(f"evaluation.seed must lie in 0 … 2^62 - 1, got {settings.seed}")


def measurable_arms(settings: EvaluationSettings) -> list[str]:
    """The asked-for arms in table order; without judged pairs, those that need none, which is said."""
    arms = checked_arms(settings.arms)
    if settings.random_targets:
        return arms
    if left_out := [arm for arm in arms if arm in JUDGED_ARMS]:
        verb = "is" if len(left_out) == 1 else "are"
        log.warning("evaluation.rotations=0: no pair is judged, and %s %s left out", " and ".join(left_out), verb)
    return [arm for arm in arms if arm not in JUDGED_ARMS]


def refuse_other_than_pairs(given: object, others: str = "") -> None:
    """Check a list of pairs of layers.

    Args:
        given: As the user has written it.
        others: What it may be instead, for the message.

    Raises:
        UserError: If it is none.
    """
    if not isinstance(given, list):
        raise UserError(f"pairs must be {others}a list such as [[0,1],[2,5]], got {given!r}")
    for pair in given:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(layer) is int for layer in pair)):
            raise UserError(f"a pair is two layers such as [0,1], got {pair!r} in pairs")


def refuse_impossible_spans(spans: Sequence[int]) -> None:
    """Check distances of layers.

    Raises:
        UserError: If there are none, or one is below one.
    """
    if not spans or any(span < 1 for span in spans):
        raise UserError(f"evaluation.spans must be distances of at least 1, got {list(spans)}")


def tells_drift(settings: EvaluationSettings, apart: bool, two_models: bool) -> bool:
    """Whether it is told what drifted.

    Args:
        settings: What is asked for.
        apart: Whether there are two collections.
        two_models: Whether they read two language models.

    Raises:
        UserError: If it is asked for, or with it a preference, and cannot be told.
    """
    if settings.drift and not apart:
        raise UserError("evaluation.drift is told between two collections: name another one as target")
    tells = apart and (two_models if settings.drift is None else settings.drift)
    if tells and not {MATCHED, MATCHED_MAPPED} & set(settings.arms):
        raise UserError(f"what drifted is told of matched pairs: add {MATCHED} to evaluation.arms")
    if settings.prefers and not tells:
        raise UserError("evaluation.prefers asks what drift goes with: set evaluation.drift=true, or a target_model")
    return tells
