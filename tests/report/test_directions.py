"""Imports in `report` run one way: its folders use what lies directly in it, and some of them tracking and explorer."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

REPORT = ROOT / "src" / "sae_match" / "report"
FOLDERS = ("comparison", "explorer", "judged", "tracking", "validation")
# Besides what lies directly in `report`.
MAY_USE = {
    "comparison": {"tracking"},
    "explorer": set(),
    "judged": {"explorer", "tracking"},
    "tracking": set(),
    "validation": {"explorer", "tracking"},
}


def imported(text: str, *, at_the_top: bool = False) -> list[str]:
    """Names of modules that a source file imports."""
    tree = ast.parse(text)
    nodes = tree.body if at_the_top else ast.walk(tree)
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def folders_used(files: list[Path]) -> set[str]:
    names = [name.split(".") for file in files for name in imported(file.read_text(encoding="utf-8"))]
    return {parts[2] for parts in names if parts[:2] == ["sae_match", "report"] and len(parts) > 2} & set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_uses_only_what_lies_below_it(folder):
    files = list((REPORT / folder).rglob("*.py"))
    assert files
    assert folders_used(files) - {folder} <= MAY_USE[folder]


def test_what_all_folders_share_uses_none_of_them():
    assert folders_used(list(REPORT.glob("*.py"))) == set()


def test_nothing_below_uses_report():
    for folder in ("saes", "matching", "model", "text", "evaluation", "semantics", "training"):
        for file in (REPORT.parent / folder).rglob("*.py"):
            names = imported(file.read_text(encoding="utf-8"))
            assert not any(name.startswith("sae_match.report") for name in names), file


def test_wandb_is_imported_in_one_folder_and_only_where_it_is_used():
    for file in REPORT.parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        roots = {name.split(".")[0] for name in imported(text)}
        at_the_top = {name.split(".")[0] for name in imported(text, at_the_top=True)}
        assert "wandb" not in at_the_top, file
        assert not {"wandb", "wandb_workspaces"} & roots or file.parent == REPORT / "tracking", file


def test_the_checks_can_fail():
    source = "import wandb.sdk\ndef f():\n    from sae_match.report.tracking import records\n"
    assert imported(source) == ["wandb.sdk", "sae_match.report.tracking", "sae_match.report.tracking.records"]
    assert imported(source, at_the_top=True) == ["wandb.sdk"]
