"""What a causal check can be told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sae_match.errors import UserError

#: Every live feature that has a partner.
EVERY = "all"
_ARMS = 4


@dataclass
class CausalSettings:
    """Which features are switched off, and where.

    Attributes:
        features: Features of each pair of layers, drawn so that all significances, cosines, costs and frequencies have
            their share; `all` for every feature that is active anywhere and has a partner. Zero: nothing is asked.
        documents: Documents of each dataset in which each of them is switched off, on average, drawn among those in
            which it is active.
    """

    features: Any = 0
    documents: int = 8

    @property
    def asked(self) -> bool:
        """Whether anything is switched off."""
        return bool(self.features != 0)

    @property
    def most(self) -> int | None:
        """Features of each pair of layers at most; none where every one is asked for."""
        return None if self.features == EVERY else int(self.features)


def refuse_impossible_causal(settings: CausalSettings) -> None:
    """Check numbers.

    Raises:
        UserError: If one cannot be.
    """
    features = settings.features
    if features != EVERY and (not isinstance(features, int) or isinstance(features, bool) or features < 0):
        raise UserError(
            f"evaluation.causal.features must be a number of features of each pair of layers, 0 for none, or {EVERY}; "
            f"got {features!r}"
        )
    if settings.documents < 1:
        raise UserError(f"evaluation.causal.documents must be at least 1, got {settings.documents}")


def refuse_unswitchable(settings: CausalSettings, site: str, two_models: bool, matched: bool) -> None:
    """Check that features of what is validated can be switched off.

    Args:
        settings: What is asked for.
        site: Where the SAEs read.
        two_models: Whether sources read another language model than targets.
        matched: Whether features are matched as they are.

    Raises:
        UserError: If they cannot.
    """
    if not settings.asked:
        return
    if site != "residual":
        raise UserError(
            f"evaluation.causal takes features out of the residual stream, and these SAEs read the site {site}: set "
            "evaluation.causal.features=0"
        )
    if two_models or not matched:
        raise UserError(
            "evaluation.causal switches a feature off in a model and looks at a later layer of the same: it cannot be "
            "asked of two language models; set evaluation.causal.features=0"
        )


def said_of(
    settings: CausalSettings, pairs: Sequence[tuple[int, int]], n_layers: int, datasets: int
) -> list[tuple[str, str]]:
    """What switching features off takes at most, as a row of a plan; none where nothing is asked.

    Args:
        settings: What is asked for.
        pairs: Of layers.
        n_layers: Decoder layers of the model.
        datasets: Of the text.
    """
    if not settings.asked:
        return []
    each = "every live feature" if settings.most is None else f"{settings.most:,} features"
    said = f"{each} of each pair of layers, each in {settings.documents} documents of each dataset"
    if settings.most is not None:
        # The source feature from its layer on, the partners of the four arms from theirs.
        runs = sum(n_layers - 1 - source + _ARMS * (n_layers - 1 - target) for source, target in pairs)
        most = settings.most * settings.documents * datasets * runs
        said = f"{said}: at most {most:,} layer-forwards of a document"
    return [("switched off", said)]
