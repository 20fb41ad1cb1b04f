"""The mathematics stays free of frameworks: imported alone, it brings in none of them."""

import json
import subprocess
import sys

import pytest

from tests.conftest import HEAVY, ROOT

BANNED = ("lightning", "hydra", "omegaconf", "wandb", "transformers", "datasets", "matplotlib")
REPORT = "import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}} & set({names!r})))"


def brought_in(statement: str, names: tuple[str, ...] = BANNED) -> list[str]:
    command = [sys.executable, "-c", f"{statement}; {REPORT.format(names=names)}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "from sae_match import *",
        "import sae_match.matching.cache, sae_match.matching.baselines",
        "import sae_match.saes.collection, sae_match.evaluation.matching_error",
    ],
)
def test_saes_and_matching_import_no_framework(statement):
    assert brought_in(statement) == []


SETTINGS = sorted(
    ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
    for file in (ROOT / "src" / "sae_match").rglob("*.py")
    if file.stem in ("settings", "sae_settings") or file.parent.name == "settings"
)


@pytest.fixture(scope="module")
def brought_in_by_settings():
    """What each module of settings brings in that those before it had not: nothing at all, if each by itself does."""
    look = f"{{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})"
    program = (
        "import importlib, json, sys\nfound, before = {}, set()\n"
        f"for module in {SETTINGS!r}:\n    importlib.import_module(module)\n    now = {look}\n"
        "    found[module], before = sorted(now - before), now\nprint(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", SETTINGS)
def test_settings_import_nothing_heavy(module, brought_in_by_settings):
    assert brought_in_by_settings[module] == []


def test_the_package_itself_brings_in_nothing():
    assert brought_in("import sae_match", HEAVY) == []


def test_what_a_matching_takes_is_said_without_what_solves_it():
    assert brought_in("import sae_match.matching.solver.planning", ("numba", "scipy", "transformers")) == []


def test_the_check_can_fail():
    assert "transformers" in brought_in("import sae_match.model.residual_stream")
