"""What a run tells W&B about itself."""

from dataclasses import asdict
from typing import Any

from sae_match.settings.judge import JudgeStudySettings
from sae_match.settings.schema import TrainSettings, ValidateSettings
from sae_match.version import provenance


def told(settings: ValidateSettings | TrainSettings | JudgeStudySettings) -> dict[str, Any]:
    """Every setting, and what the run was made by."""
    return {**asdict(settings), "provenance": provenance()}
