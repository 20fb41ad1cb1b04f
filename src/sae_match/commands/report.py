"""Compare finished validations: tables and pictures of any number of runs."""

from pathlib import Path

from rich.console import Console

from sae_match.report.comparison.comparing import compare
from sae_match.settings.report import ReportSettings


def main(settings: ReportSettings) -> None:
    """Compare finished validations, and leave tables and pictures in the folder."""
    compare(
        settings.folders,
        Path(settings.output_dir),
        Console(),
        settings.logger,
        arms=settings.arms,
        metrics=settings.metrics,
    )
