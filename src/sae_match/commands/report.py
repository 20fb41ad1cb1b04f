"""Compare finished validations: tables and pictures of any number of runs."""

from pathlib import Path

from sae_match.report.comparison.comparing import compare
from sae_match.settings.report import ReportSettings
from sae_match.terminal import Terminal


def main(settings: ReportSettings) -> None:
    """Compare finished validations, and leave tables and pictures in the folder."""
    compare(
        settings.folders,
        Path(settings.output_dir),
        Terminal(),
        settings.logger,
        arms=settings.arms,
        metrics=settings.metrics,
        seeds=settings.over,
    )
