"""The layout as W&B is sent it."""

import json

import pytest

from sae_match.errors import UserError
from sae_match.report.tracking import workspace
from sae_match.report.tracking.layout import Panel, Section
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.report.tracking.workspace import as_json, lay_out

KEYS = {
    "lines": ("by_layer/delta_loss/code/matched", "by_layer/delta_loss/code/random"),
    "bars": ("delta_loss/code/matched", "delta_loss/code/random"),
    "picture": ("figures/delta_loss",),
    "table": ("pairs",),
    "histogram": ("pair_cost/L00-L01",),
    "settings": (),
    "note": (),
}
SECTIONS = [Section("all", [Panel(kind, f"some {kind}", keys) for kind, keys in KEYS.items()]), Section("none", [])]


def test_every_kind_of_panel_shows_its_keys():
    sent = json.loads(as_json(workspace.workspace(SECTIONS, "me", "mine", "a view")))
    assert (sent["entity"], sent["project"], sent["displayName"]) == ("me", "mine", "a view")
    sections = sent["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["all", "none"]
    panels = dict(zip(KEYS, sections[0]["panels"], strict=True))
    assert panels["lines"]["config"]["xAxis"] == "layer"
    assert panels["lines"]["config"]["metrics"] == list(KEYS["lines"])
    assert panels["bars"]["config"]["metrics"] == [f"summary_metrics.{key}" for key in KEYS["bars"]]
    assert panels["picture"]["config"]["mediaKeys"] == ["figures/delta_loss"]
    assert '"val": "pairs"' in json.dumps(panels["table"])
    assert panels["histogram"]["config"]["metrics"] == ["pair_cost/L00-L01"]
    assert panels["note"]["config"]["value"] == "some note"


def test_offline_the_layout_is_a_file_and_a_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    said = lay_out(SECTIONS, LoggerSettings(mode="offline"), "a view", tmp_path / "out")
    assert str(tmp_path / "out" / "workspace.json") in said
    assert "wandb login" in said
    assert json.loads((tmp_path / "out" / "workspace.json").read_text())["displayName"] == "a view"


def test_a_server_that_refuses_ends_in_one_line(tmp_path, monkeypatch):
    def refuse(_):
        raise ValueError("no such entity\nand much more")

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(workspace.ws.Workspace, "save", refuse)
    with pytest.raises(UserError, match=r"W&B has not taken the workspace: no such entity$"):
        lay_out(SECTIONS, LoggerSettings(mode="online", entity="me"), "a view", tmp_path)
