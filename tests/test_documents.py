"""Documents name what there is: links lead somewhere, and programs know what they are told."""

import ast

import pytest

from tests.conftest import ROOT
from tests.documents import anchors, commands, documents, wrong_commands, wrong_links

DOCUMENTS = documents()
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def name_of(file):
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(file):
    assert wrong_links(file.read_text("utf-8"), file) == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_every_command_is_understood(file, tmp_path):
    assert wrong_commands(file.read_text("utf-8"), tmp_path) == []


@pytest.mark.parametrize("file", SCRIPTS, ids=name_of)
def test_every_command_that_a_script_says_is_understood(file, tmp_path):
    said = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    assert list(commands(f"```\n{said}\n```"))
    assert wrong_commands(f"```\n{said}\n```", tmp_path) == []


def test_commands_are_found_where_they_stand():
    text = (
        "Say `python scripts/match.py pairs=all`, not `scripts/match.py`, or:\n\n```sh\npip install . && sae-match "
        "validate experiment=quick  # a look\nCUDA_VISIBLE_DEVICES=0 python scripts/train.py \\\n  training=saes\n```\n"
    )
    found = {one.name: one.told for one in commands(text)}
    assert found == {"match": ("pairs=all",), "validate": ("experiment=quick",), "train": ("training=saes",)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("python scripts/validate.py matchr=folded", "Could not override 'matchr'"),
        ("python scripts/validate.py matcher=foldet", "Could not find 'matcher/foldet'"),
        ("python scripts/validate.py matcher.fodl=none", "Could not override 'matcher.fodl'"),
        ("python scripts/validate.py -m matcher=folded,foldet", "Could not find 'matcher/foldet'"),
        ("python scripts/validate.py 'evaluation.arms=[mached]'", "unknown arm 'mached'"),
        ("sae-match judge judgement=…", "there is no judgement"),
        ("sae-match train training=saes destination=DIR training.l=[$l0]", "Could not override 'training.l'"),
        ("sae-match mach pairs=all", "there is no such program"),
        ("python scripts/mach.py", "there is no such program"),
        ("python scripts/card.py --sae DIR", "there is no --sae"),
        ("python scripts/card.py seed=1", "takes options alone"),
    ],
)
def test_a_command_that_would_be_refused_is_found(line, reason, tmp_path):
    (wrong,) = wrong_commands(f"```sh\n{line}\n```", tmp_path)
    assert wrong.startswith(f"{line}: ")
    assert reason in wrong


@pytest.mark.parametrize(
    "line",
    [
        "python scripts/judge.py sae=… sae.source=… logger=none …",
        "sae-match match [pairs=all]",
        "sae-match train training=saes destination=DIR training.l0=[$l0]",
    ],
)
def test_what_is_left_to_the_reader_is_no_mistake(line, tmp_path):
    assert wrong_commands(f"`{line}`", tmp_path) == []


@pytest.mark.parametrize("link", ["nowhere.md", "README.md#no-such-heading", "#no-such-heading"])
def test_a_link_to_nowhere_is_found(link):
    (wrong,) = wrong_links(f"# Title\n[words]({link})\n`[code](nowhere)`", ROOT / "made_up.md")
    assert wrong.startswith(f"{link}: ")


def test_headings_are_called_as_in_links():
    text = "# Two commands\n## `match`, and more\n## Two commands\n```\n# no heading\n```\n"
    assert anchors(text) == {"two-commands", "match-and-more", "two-commands-1"}
    assert wrong_links(f"{text}[one](#two-commands-1) [other](https://example.org/#x)", ROOT / "made_up.md") == []
