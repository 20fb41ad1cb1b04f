"""Lay out a W&B workspace for validations: overview, folding, ladder, persistence, pairs."""

from pathlib import Path

from sae_match.report.runs import find_runs
from sae_match.report.tracking.layout import layout
from sae_match.report.tracking.workspace import lay_out
from sae_match.settings.report import DashboardSettings
from sae_match.terminal import Terminal, say


def main(settings: DashboardSettings) -> None:
    """Lay out the workspace, at W&B or as a file."""
    runs, _ = find_runs(settings.folders)
    sections, console = layout(runs), Terminal()
    for section in sections:
        say(console, f"  {section.name:<12} {len(section.panels)} panels")
    where = lay_out(sections, settings.logger, settings.name, Path(settings.output_dir))
    say(console, where)
