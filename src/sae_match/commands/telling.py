"""What a run tells W&B about itself."""

from dataclasses import asdict
from typing import Any

from sae_match.settings.judge import JudgeStudySettings
from sae_match.settings.schema import TrainSettings, ValidateSettings
from sae_match.strings import visible
from sae_match.version import provenance


def told(settings: ValidateSettings | TrainSettings | JudgeStudySettings) -> dict[str, Any]:
    """Every setting, and what the run was made by."""
    return {**_visible(asdict(settings)), "provenance": provenance()}


def _visible(value: Any) -> Any:
    """Settings in which every text can be stored: a path may hold halves of characters."""
    if isinstance(value, dict):
        return {_visible(key): _visible(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(inner) for inner in value]
    return visible(value) if isinstance(value, str) else value
