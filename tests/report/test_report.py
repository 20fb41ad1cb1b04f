import io
import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
import wandb
from rich.console import Console

from sae_match.errors import UserError
from sae_match.evaluation.arms import ARMS
from sae_match.evaluation.results import Result, Results
from sae_match.evaluation.statistics import Activity
from sae_match.evaluation.tally import Tally
from sae_match.matching.matching import Matching
from sae_match.report import tables
from sae_match.report.figures import draw
from sae_match.report.tables import charts, ladder, pair_rows, summary
from sae_match.report.wandb_logging import LoggerSettings, log_validation, open_logger, where_to_look


@pytest.fixture
def results():
    return Results(
        Result(layer, layer + 1, arm, dataset, metric, value + layer, None, None, 10, 2)
        for layer in (0, 1, 2)
        for dataset in ("prose", "code")
        for arm, value in {**dict.fromkeys(ARMS, 0.5), "matched": 0.25}.items()
        for metric in ("explained_variance", "delta_loss")
    )


@pytest.fixture
def tally_and_matchings():
    tally = Tally()
    tally.documents = {"prose": 1}
    tally.activity = {
        (0, "prose"): Activity(9, torch.tensor([4, 5])),
        (1, "prose"): Activity(9, torch.tensor([6, 7])),
    }
    tally.joint = {(0, 1, "matched", "prose"): torch.tensor([3, 2])}
    matching = Matching(torch.tensor([1, 0]), torch.tensor([0.5, 1.5], dtype=torch.float64))
    return tally, {((0, 1), "matched"): matching}


def test_charts_and_summary_hold_every_number(results):
    by_layer = dict(charts(results))
    assert list(by_layer) == [1, 2, 3]
    assert by_layer[2]["delta_loss/code/matched"] == 1.25
    assert summary(results)["delta_loss/code/matched"] == 1.25
    assert len(summary(results)) == 4 * len(ARMS)


def test_pairs_carry_their_counts(tally_and_matchings):
    rows = pair_rows(*tally_and_matchings)
    assert [tuple(row) for row in rows] == [(0, 1, 0, 1, 0.5, "prose", 4, 7, 3), (0, 1, 1, 0, 1.5, "prose", 5, 6, 2)]


def test_too_many_pairs_are_sampled_in_order(tally_and_matchings, monkeypatch):
    monkeypatch.setattr(tables, "MOST_PAIRS", 1)
    assert len(pair_rows(*tally_and_matchings)) == 1


def test_the_ladder_fits_a_terminal(results):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(ladder(results, "delta_loss", "prose"))
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "2 → 3" in text
    assert "2.250" in text


def test_figures_are_pictures(results, tmp_path):
    files = draw(results, tmp_path / "figures")
    assert [file.name for file in files] == ["explained_variance.png", "delta_loss.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {file.name for file in files}


def read_back(run: Path, *options: str) -> list[dict]:
    """Records of an offline run, as W&B's own reader prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(run)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_what_was_logged_offline_is_read_back(results, tally_and_matchings, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    figures = draw(results, tmp_path / "figures")
    with open_logger(LoggerSettings(mode="offline", group="tests"), tmp_path, {"matcher": {"fold": "none"}}) as logger:
        log_validation(logger, results, pair_rows(*tally_and_matchings), figures)
    assert wandb.run is None
    (run,) = tmp_path.glob("wandb/offline-run-*")
    records = json.dumps(read_back(run))
    for logged in ("by_layer/delta_loss/code/matched", "figures/delta_loss", "pairs", "step_metric", "fold"):
        assert logged in records, logged
    (table,) = run.glob("files/media/table/pairs*.json")
    assert json.loads(table.read_text())["data"] == [list(row) for row in pair_rows(*tally_and_matchings)]
    assert len(list(run.glob("files/media/images/figures/*.png"))) == 2


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
    statement = f"from sae_match.report.wandb_logging import *; print(chosen_mode(LoggerSettings(mode={mode!r})))"
    command = [sys.executable, "-c", statement]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[-1] == expected


def test_a_disabled_run_is_logged_to_nowhere(results, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with open_logger(LoggerSettings(), tmp_path, {}) as logger:
        log_validation(logger, results, [], [])
        assert where_to_look(logger) == "disabled"
    assert list(tmp_path.glob("wandb/*run-*")) == []


def test_an_online_run_without_credentials_says_what_to_do(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    statement = (
        "from pathlib import Path; from sae_match.report.wandb_logging import *\n"
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


def test_the_csv_logger_keeps_the_summary(results, tmp_path):
    with open_logger(LoggerSettings(kind="csv"), tmp_path, {}) as logger:
        assert isinstance(logger, L.pytorch.loggers.CSVLogger)
        log_validation(logger, results, [], [])
    assert "delta_loss/code/matched" in (tmp_path / "csv" / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LoggerSettings(kind="tensorboard"), "logger.kind must be one of"),
        (LoggerSettings(mode="maybe"), "logger.mode must"),
    ],
)
def test_unknown_loggers_are_refused(settings, message, tmp_path):
    with pytest.raises(UserError, match=message), open_logger(settings, tmp_path, {}):
        pass
