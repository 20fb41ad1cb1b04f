"""A W&B workspace from a layout: the only module that imports `wandb_workspaces`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wandb_workspaces.reports.v2 import interface as wr
from wandb_workspaces.workspaces import interface as ws

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.report.tracking.layout import Kind, Panel, Section
from sae_match.report.tracking.logger import chosen_mode, default_entity
from sae_match.report.tracking.settings import LoggerSettings

# Columns of W&B's grid, in which a panel of ours takes a third; rows of a panel.
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 8


def lay_out(sections: Sequence[Section], settings: LoggerSettings, name: str, folder: Path) -> str:
    """Save a workspace where W&B is online, else write it to `workspace.json`; returns a line that says where it is.

    Raises:
        UserError: If W&B refuses, or the file cannot be written.
    """
    made = workspace(sections, settings.entity or "", settings.chosen_project, name)
    if chosen_mode(settings) != "online":
        file = folder / "workspace.json"
        with written_whole(file) as temporary:
            temporary.write_text(as_json(made), encoding="utf-8", errors="backslashreplace")
        return f"W&B is offline: the layout is in {file}; the same command lays it out after `wandb login`"
    try:
        made.entity = settings.entity or default_entity()
        return str(made.save().url)
    # W&B's error for a request that failed is in a private module and has no base but Exception; an answer without a
    # workspace in it fails in whatever way taking it apart does.
    except Exception as error:
        raise UserError(f"W&B has not taken the workspace: {(str(error) or repr(error)).splitlines()[0]}") from error


def workspace(sections: Sequence[Section], entity: str, project: str, name: str) -> ws.Workspace:
    """The workspace of a layout, not saved."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(
                name=section.name,
                panels=[_made(panel, place) for place, panel in enumerate(section.panels)],
                is_open=True,
            )
            for section in sections
        ],
    )


def as_json(laid_out: ws.Workspace) -> str:
    """A workspace as W&B's server is sent it."""
    return str(laid_out._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2))


def _made(panel: Panel, place: int) -> Any:
    made = _MAKERS[panel.kind](panel)
    across = _COLUMNS // _WIDTH
    made.layout = wr.Layout(x=place % across * _WIDTH, y=place // across * _HEIGHT, w=_WIDTH, h=_HEIGHT)
    return made


def _lines(panel: Panel) -> wr.Panel:
    return wr.LinePlot(
        title=panel.title, x=wr.Metric("layer"), y=[wr.Metric(key) for key in panel.keys], title_x="target layer"
    )


_MAKERS: dict[Kind, Callable[[Panel], wr.Panel]] = {
    "lines": _lines,
    "bars": lambda panel: wr.BarPlot(title=panel.title, metrics=[wr.SummaryMetric(key) for key in panel.keys]),
    "picture": lambda panel: wr.MediaBrowser(title=panel.title, media_keys=list(panel.keys), num_columns=1),
    "table": lambda panel: wr.WeavePanelSummaryTable(table_name=panel.keys[0]),
    "histogram": lambda panel: wr.LinePlot(title=panel.title, y=[wr.Metric(key) for key in panel.keys]),
    "settings": lambda _: wr.RunComparer(diff_only="split"),
    "note": lambda panel: wr.MarkdownPanel(markdown=panel.title),
}
