"""Opening and closing a run. What depends on a whole program is tried in one of its own."""

import os
import subprocess
import sys

import pytest
import wandb

from sae_match.report.tracking.logger import open_logger
from sae_match.report.tracking.settings import LoggerSettings

PROGRAM = """
import os, sys
from pathlib import Path
import openai
import wandb
from sae_match.report.tracking.logger import open_logger
from sae_match.report.tracking.settings import LoggerSettings
with open_logger(LoggerSettings(mode="offline"), Path(sys.argv[1]), {}):
    wandb.termlog("anything else")
print(os.environ.get("WANDB_DISABLE_WEAVE"))
"""


@pytest.mark.parametrize(("switch", "advertised"), [(None, False), ("true", False), ("false", True)])
def test_another_product_is_not_advertised_unless_the_user_asks_for_it(switch, advertised, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    if switch is not None:
        environment["WANDB_DISABLE_WEAVE"] = switch
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ("Detected [openai] in use" in done.stderr) is advertised
    assert ("Weave" in done.stderr) is advertised
    assert "anything else" in done.stderr
    # As it was: weave, imported later, looks at it too.
    assert done.stdout.strip() == str(switch)


@pytest.mark.parametrize(
    ("key", "variable", "mode", "expected"),
    [
        (None, None, "auto", "offline"),
        ("0" * 40, None, "auto", "online"),
        ("0" * 40, "offline", "auto", "offline"),
        (None, None, "online", "online"),
        (None, "disabled", "online", "disabled"),
    ],
)
def test_wandb_is_online_where_there_is_a_key_unless_told_otherwise(key, variable, mode, expected, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    environment |= {"WANDB_API_KEY": key} if key else {}
    environment |= {"WANDB_MODE": variable} if variable else {}
    statement = (
        "from sae_match.report.tracking.logger import chosen_mode; "
        "from sae_match.report.tracking.settings import LoggerSettings; "
        f"print(chosen_mode(LoggerSettings(mode={mode!r})))"
    )
    command = [sys.executable, "-c", statement]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[-1] == expected


def test_an_online_run_without_credentials_says_what_to_do(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    statement = (
        "from pathlib import Path; from sae_match.report.tracking.logger import open_logger\n"
        "from sae_match.report.tracking.settings import LoggerSettings\n"
        "with open_logger(LoggerSettings(mode='online'), Path('.'), {}): pass"
    )
    command = [sys.executable, "-c", statement]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert "UserError: W&B cannot start" in done.stderr


def test_the_run_is_closed_when_the_validation_fails(tmp_path):
    def fail(logger):
        assert logger.experiment is wandb.run is not None
        raise RuntimeError

    opened = open_logger(LoggerSettings(mode="offline"), tmp_path, {})
    with pytest.raises(RuntimeError), opened as logger:
        fail(logger)
    assert wandb.run is None


PROGRAM_WITHOUT = """
import sys
from pathlib import Path
from sae_match.report.tracking.logger import open_logger, where_to_look
from sae_match.report.tracking.records import ValidationRecord, log_validation
from sae_match.report.tracking.settings import LoggerSettings
with open_logger(LoggerSettings(kind="none"), Path("."), {}) as logger:
    log_validation(logger, ValidationRecord({}, {}), [], Path("."))
    assert where_to_look(logger) is None
print(*{"wandb", "lightning"} & set(sys.modules))
"""


def test_nothing_that_takes_seconds_is_imported_where_nothing_is_logged():
    done = subprocess.run([sys.executable, "-c", PROGRAM_WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
