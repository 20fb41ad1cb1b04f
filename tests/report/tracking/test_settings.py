import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.report.tracking.settings import LoggerSettings

UNKNOWN = [
    ({"kind": "tensorboard"}, "logger.kind must be one of wandb, csv, none, got 'tensorboard'"),
    ({"mode": "maybe"}, "logger.mode must be one of auto, online, offline, got 'maybe'"),
]


@pytest.mark.parametrize(("given", "message"), UNKNOWN)
def test_unknown_loggers_are_refused(given, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        LoggerSettings(**given)


@pytest.mark.parametrize(("given", "message"), UNKNOWN)
def test_so_are_those_of_a_config(given, message):
    config = OmegaConf.merge(OmegaConf.structured(LoggerSettings), given)
    with pytest.raises(UserError, match=f"^{message}$"):
        OmegaConf.to_object(config)


def test_settings_import_nothing_heavy():
    program = (
        "import sys, sae_match; before = set(sys.modules); import sae_match.report.tracking.settings; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - {'sae_match'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= set(sys.stdlib_module_names)


def test_an_empty_variable_is_none_and_a_misspelt_one_is_named(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "")
    LoggerSettings()
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    with pytest.raises(UserError, match=r"WANDB_MODE must be one of online, offline, .* got 'nonsense'"):
        LoggerSettings()
    # Who does not log to W&B is not asked.
    LoggerSettings(kind="none")


@pytest.mark.parametrize("tag", ["", "x" * 65])
def test_a_tag_that_wandb_does_not_take_is_refused(tag):
    with pytest.raises(UserError, match=f"logger.tags: a tag has 1 to 64 characters, .* has {len(tag)}"):
        LoggerSettings(tags=["fine", tag])
    LoggerSettings(tags=["x" * 64])


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [(None, None, "sae-match"), (None, "", "sae-match"), (None, "mine", "mine"), ("ours", "mine", "ours")],
)
def test_the_project_is_the_one_given_else_that_of_the_environment(monkeypatch, given, variable, expected):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    if variable is not None:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    assert LoggerSettings(project=given).chosen_project == expected
