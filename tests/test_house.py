"""The plan of the code: imports run one way, and no folder, module or first page grows beyond what one takes in."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "sae_match"
# Modules that everybody may use, and what they use of each other.
GROUND = {
    "errors": set(),
    "bounds": {"errors"},
    "strings": {"errors"},
    "files": {"errors", "strings"},
    "addresses": {"errors"},
    "network": {"errors"},
    "homes": set(),
    "hub": {"errors", "network"},
    "tensors": {"errors"},
    "progress": set(),
    "terminal": {"strings"},
    "bootstrap": set(),
    "version": {"files"},
    "owned": {"errors", "files", "version"},
    "bundled": set(),
}
# What a folder may import besides these.
BELOW = {
    "saes": set(),
    "text": set(),
    "matching": {"saes"},
    "model": {"saes"},
    "evaluation": {"saes", "matching", "model", "text"},
    "semantics": {"saes", "matching", "model", "text"},
    "training": {"saes", "model", "text", "evaluation"},
    "report": {"saes", "matching", "model", "text", "evaluation", "semantics"},
    "settings": {"saes", "matching", "model", "text", "evaluation", "semantics", "report"},
    "benchmark": {"saes", "matching", "model", "text", "evaluation", "report", "training"},
}
MOST_MODULES = 15
MOST_LINES, MOST_LINES_OF_README = 300, 220


def used_by(text: str) -> set[str]:
    """First names below the package of all that a source file imports from it."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "sae_match":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sae_match."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == "sae_match" and len(parts) > 1}
    # The public names stand for the mathematics.
    return {"matching" if name in ("SAE", "match", "compose", "load_sae", "Matching") else name for name in found}


def folders() -> list[Path]:
    return sorted({file.parent for file in SOURCE.rglob("*.py")})


def modules(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*.py") if file.name != "__init__.py"]


def test_every_folder_has_its_place():
    assert {folder.name for folder in SOURCE.iterdir() if (folder / "__init__.py").is_file()} == {
        *BELOW,
        "bundled",
        "commands",
    }


@pytest.mark.parametrize("name", BELOW)
def test_a_folder_imports_what_lies_below_it(name):
    used = set().union(*(used_by(file.read_text(encoding="utf-8")) for file in (SOURCE / name).rglob("*.py")))
    assert used - {name} <= BELOW[name] | set(GROUND)


@pytest.mark.parametrize("name", [name for name in GROUND if name != "bundled"])
def test_what_everybody_uses_uses_next_to_nothing(name):
    assert used_by((SOURCE / f"{name}.py").read_text(encoding="utf-8")) <= GROUND[name]


def test_imports_are_seen_in_every_form():
    text = (
        "import sae_match.report.tables\nfrom sae_match import match\ndef f():\n    from sae_match.model import fit\n"
    )
    assert used_by(text) == {"report", "matching", "model"}


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_a_folder_is_one_thing(folder):
    assert len(modules(folder)) <= MOST_MODULES


def test_a_module_is_one_thing():
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCE.rglob("*.py")}
    assert {file: lines for file, lines in lengths.items() if lines > MOST_LINES} == {}


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_README


def test_no_test_imports_from_a_file_of_tests():
    of_tests = re.compile(r"^(?:from tests[\w.]*\.|import tests[\w.]*\.)test_\w+", re.MULTILINE)
    files = (ROOT / "tests").rglob("*.py")
    assert [file.relative_to(ROOT).as_posix() for file in files if of_tests.search(file.read_text("utf-8"))] == []
