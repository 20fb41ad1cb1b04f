"""Opening and closing a run. What depends on a whole program is tried in one of its own."""

import subprocess
import sys

import pytest
import wandb

from sae_match.errors import UserError
from sae_match.report.tracking.logger import open_logger
from sae_match.report.tracking.settings import LoggerSettings
from tests import programs

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
    told = {} if switch is None else {"WANDB_DISABLE_WEAVE": switch}
    done = programs.run("-c", PROGRAM, tmp_path, environment=programs.quiet_environment(**told))
    assert ("Detected [openai] in use" in done.stderr) is advertised
    assert ("Weave" in done.stderr) is advertised
    assert "anything else" in done.stderr
    # As it was: weave, imported later, looks at it too.
    assert done.stdout.strip() == str(switch)


def nobodys_environment(home, **more):
    """One without an account at W&B."""
    return programs.quiet_environment(HOME=str(home), NETRC=str(home / "netrc"), **more)


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
    told = {"WANDB_API_KEY": key, "WANDB_MODE": variable}
    environment = nobodys_environment(tmp_path, **{name: value for name, value in told.items() if value})
    # Left at once: W&B's own end waits for a server that was never to be reached.
    statement = (
        "import os; from sae_match.report.tracking.logger import chosen_mode; "
        "from sae_match.report.tracking.settings import LoggerSettings; "
        f"print(chosen_mode(LoggerSettings(mode={mode!r})), flush=True); os._exit(0)"
    )
    done = programs.run("-c", statement, environment=environment)
    assert done.stdout.split()[-1] == expected


def test_an_online_run_without_credentials_says_what_to_do(tmp_path):
    statement = (
        "from pathlib import Path; from sae_match.report.tracking.logger import open_logger\n"
        "from sae_match.report.tracking.settings import LoggerSettings\n"
        "with open_logger(LoggerSettings(mode='online'), Path('.'), {}): pass"
    )
    done = programs.run("-c", statement, folder=tmp_path, environment=nobodys_environment(tmp_path))
    assert "UserError: W&B cannot start" in done.stderr


def test_the_run_is_closed_when_the_validation_fails(tmp_path):
    def fail(logger):
        assert logger.experiment is wandb.run is not None
        raise RuntimeError

    opened = open_logger(LoggerSettings(mode="offline"), tmp_path, {})
    with pytest.raises(RuntimeError), opened as logger:
        fail(logger)
    assert wandb.run is None


STAGING = """
import os
from pathlib import Path
import wandb
from sae_match.report.tracking.logger import open_logger
from sae_match.report.tracking.settings import LoggerSettings
with open_logger(LoggerSettings(mode="offline"), Path("run"), {}) as logger:
    print(logger.experiment.project, logger.experiment.tags)
    logger.experiment.log({"a": wandb.Table(columns=["b"], data=[[1]])})
print(sorted(name for name in os.environ if name in ("WANDB_DATA_DIR", "WANDB_MODE", "WANDB_TAGS")))
"""


def test_all_that_an_upload_needs_lies_in_the_runs_folder(tmp_path):
    (tmp_path / "home").mkdir()
    told = {"WANDB_MODE": "", "WANDB_TAGS": "one,two", "WANDB_PROJECT": "mine", "XDG_DATA_HOME": ""}
    environment = nobodys_environment(tmp_path / "home", **told)
    done = programs.run("-c", STAGING, folder=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["mine ('one', 'two')", "['WANDB_MODE', 'WANDB_TAGS']"]
    assert not list((tmp_path / "home").rglob("staging"))
    assert list((tmp_path / "run" / "wandb").rglob("staging/*"))


def test_what_wandb_refuses_is_one_line(tmp_path):
    statement = STAGING.replace('mode="offline"', 'mode="offline", project="a/b"')
    done = programs.run("-c", statement, folder=tmp_path, environment=nobodys_environment(tmp_path))
    assert "UserError: W&B cannot start: Invalid project name 'a/b'" in done.stderr


def test_a_failure_at_the_very_end_is_one_line_and_hides_no_other(tmp_path, monkeypatch, caplog):
    end = wandb.finish

    def broken():
        end()
        raise OSError("no space left")

    monkeypatch.setattr(wandb, "finish", broken)
    opened = open_logger(LoggerSettings(mode="offline"), tmp_path, {})
    with pytest.raises(UserError, match="W&B cannot end: no space left; all results are in"), opened:
        pass
    opened = open_logger(LoggerSettings(mode="offline"), tmp_path, {})
    with pytest.raises(RuntimeError), opened:
        raise RuntimeError
    # Nor is it hidden by that one.
    assert "W&B cannot end: no space left" in caplog.text


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
