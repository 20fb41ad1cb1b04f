"""Lay out a W&B workspace for validations: overview, folding, ladder, persistence, pairs."""

from pathlib import Path

from rich.console import Console

from sae_match.report.runs import find_runs
from sae_match.report.tracking.layout import layout
from sae_match.report.tracking.workspace import lay_out
from sae_match.settings.report import DashboardSettings


def main(settings: DashboardSettings) -> None:
    """Lay out the workspace, at W&B or as a file."""
    runs, _ = find_runs(settings.folders)
    sections, console = layout(runs), Console()
    for section in sections:
        console.print(f"  {section.name:<12} {len(section.panels)} panels", highlight=False)
    where = lay_out(sections, settings.logger, settings.name, Path(settings.output_dir))
    console.print(where, highlight=False, soft_wrap=True)
