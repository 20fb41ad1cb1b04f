"""From folders of runs to files, lines in the terminal and a W&B run."""

import csv
import io
import json

import pytest
import yaml

from sae_match.errors import UserError
from sae_match.report.comparison.comparing import compare
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.terminal import Terminal
from tests.nasty import NASTY
from tests.report.made_up import METRICS
from tests.report.offline import about, artifacts, history_names, only_run
from tests.report.run_folders import NEIGHBOURS, run_folder

TABLES = {"comparison.csv", "comparison_by_layer.csv", "comparison_differences.csv", "comparison.md"}
NOWHERE = LoggerSettings(kind="none")


@pytest.fixture
def comparing(tmp_path):
    def run(logger=NOWHERE, width=100, **asked):
        console = Terminal(file=io.StringIO(), width=width)
        compare([tmp_path / "runs"], tmp_path / "out", console, logger, **asked)
        return console.file.getvalue()

    return run


def test_six_runs_are_one_table_one_set_of_pictures_and_one_wandb_group(comparing, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for job, (matcher, seed) in enumerate((m, s) for m in ("folded", "unfolded", "cosine") for s in (0, 1)):
        run_folder(tmp_path / "runs" / str(job), matcher, sweep=True, text__seed=seed)
    printed = comparing(LoggerSettings(mode="offline"))
    assert "Comparison of 6 finished runs" in printed
    assert "prose, neighbours" in printed
    assert {file.name for file in (tmp_path / "out").iterdir()} >= TABLES
    drawn = {f"{metric}_{kind}" for metric in METRICS for kind in ("by_run", "by_run_and_layer", "grid")}
    assert {file.stem for file in (tmp_path / "out" / "figures").glob("*.png")} == drawn
    records = only_run(tmp_path / "out")
    run = about(records)
    assert (run["run_group"], run["job_type"], run["display_name"]) == ("runs", "report", "comparison")
    assert len(run["config"]["update"]["runs"]) == 6
    assert {f"{kind}/{name}" for kind in ("figures", "numbers") for name in drawn} <= history_names(records)
    files = {entry["path"] for entry in artifacts(records)["comparison"]["manifest"]["contents"]}
    assert TABLES | {f"figures/{name}.svg" for name in drawn} == files


def test_other_models_have_a_comparison_of_their_own_and_it_is_said(comparing, tmp_path):
    run_folder(tmp_path / "runs" / "0")
    run_folder(tmp_path / "runs" / "1", "unfolded")
    run_folder(tmp_path / "runs" / "2", model__source="other", choices={"model": "gpt2"})
    printed = comparing()
    assert "kept apart  they are of 2 models or texts: a comparison for each" in printed
    assert "kind_2: model.source=other" in printed
    for kind in ("kind_1", "kind_2"):
        assert {file.name for file in (tmp_path / "out" / kind).iterdir()} >= TABLES
    assert not (tmp_path / "out" / "comparison.csv").exists()


def test_what_is_left_out_or_lacking_is_said(comparing, tmp_path):
    run_folder(tmp_path / "runs" / "0")
    run_folder(tmp_path / "runs" / "1", "cosine", pairs=NEIGHBOURS[:2])
    (run_folder(tmp_path / "runs" / "2") / "error.txt").write_text("no SAE for layer 9\n")
    printed = comparing()
    assert "Comparison of 2 finished runs" in printed
    assert f"left out  {tmp_path / 'runs' / '2'}: no SAE for layer 9" in printed
    assert "matcher=cosine has no results of layers 2→3" in printed
    assert "matcher=cosine has no results of layers 2→3" in (tmp_path / "out" / "comparison.md").read_text()


def test_arms_and_metrics_can_be_asked_for(comparing, tmp_path):
    run_folder(tmp_path / "runs" / "0")
    printed = comparing(arms=["random", "nearest"], metrics=["delta_loss"])
    assert "matching score" not in printed
    assert {file.stem for file in (tmp_path / "out" / "figures").glob("*.png")} == {
        "delta_loss_by_run",
        "delta_loss_by_run_and_layer",
    }


def test_nothing_is_written_where_something_unknown_is_asked_for(comparing, tmp_path):
    run_folder(tmp_path / "runs" / "0")
    with pytest.raises(UserError, match="no run has 'l0'"):
        comparing(metrics=["l0"])
    assert not (tmp_path / "out").exists()


def rows_of(printed, dataset):
    """Lines of a dataset's table."""
    return printed.split(f"{dataset}, neighbours\n")[1].split("\n\n")[0].splitlines()


def test_collections_that_differ_in_many_layers_are_numbered_where_there_is_no_room(comparing, tmp_path):
    for job, factor in enumerate((1, 2)):
        told = {f"sae__layers__{layer}__l0": factor * (layer + 2) for layer in range(8)}
        run_folder(tmp_path / "runs" / str(job), **told)
    printed = comparing(width=80)
    assert max(map(len, printed.split("Files in")[0].splitlines())) <= 80
    assert "  1  sae.layers.0…7.l0=2,3,4,5,6,7,8,9\n  2  sae.layers.0…7.l0=4,6,8,10,12,14,16,18\n" in printed
    heading, *rows = rows_of(printed, "code")
    assert heading.split() == ["run", "arm", "explained", "variance", "delta", "loss", "matching", "score"]
    assert [row.split() for row in rows] == [[number, "matched", *["0.250", "0.125…0.375"] * 3] for number in "12"]
    assert "sae.layers.7.l0" in (tmp_path / "out" / "comparison.csv").read_text().splitlines()[0]


def test_settings_of_two_layers_lose_what_they_share_where_there_is_no_room(comparing, tmp_path):
    for job, l0 in enumerate((3, 6)):
        run_folder(tmp_path / "runs" / str(job), sae__layers__3__l0=l0, sae__layers__4__l0=2 * l0)
    printed = comparing(width=80)
    assert "columns are settings of sae.layers\n" in printed
    heading, first, second = rows_of(printed, "prose")
    assert heading.split()[:3] == ["3.l0", "4.l0", "arm"]
    assert (first.split()[:3], second.split()[:3]) == (["3", "6", "matched"], ["6", "12", "matched"])
    wide = comparing(width=120)
    assert rows_of(wide, "prose")[0].split()[:2] == ["sae.layers.3.l0", "sae.layers.4.l0"]


SETTING = {name: text for name, text in NASTY.items() if text}


@pytest.mark.parametrize("text", SETTING.values(), ids=SETTING)
def test_a_setting_may_be_anything(comparing, tmp_path, text):
    for job, value in enumerate((text, "plain")):
        folder = run_folder(tmp_path / "runs" / str(job), matcher__metric="x")
        file = folder / ".hydra" / "config.yaml"
        # As JSON, which YAML reads: with halves of characters, and interpolations.
        file.write_text(json.dumps({**yaml.safe_load(file.read_text()), "matcher": {"metric": value}}))
    printed = comparing(metrics=["delta_loss"])
    told = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert len({line.count("|") - line.count("\\|") for line in told.splitlines() if line.startswith("| ")}) == 1
    assert "<script>" not in told.replace("\\<script\\>", "")
    with (tmp_path / "out" / "comparison.csv").open(newline="", encoding="utf-8") as file:
        assert {row["matcher.metric"] for row in csv.DictReader(file)} >= {"plain"}
    assert "\x1b" not in printed
    assert len(list((tmp_path / "out" / "figures").glob("*.png"))) == 2


DATASETS = {name: NASTY[name] for name in ("markup", "mathematics", "markdown", "scripts", "underscore", "template")}


@pytest.mark.parametrize("text", DATASETS.values(), ids=DATASETS)
def test_a_dataset_may_be_called_anything_that_can_be_seen(comparing, tmp_path, text):
    folder = run_folder(tmp_path / "runs" / "0")
    for name in ("results.csv", "spans.csv"):
        rows = (folder / name).read_text().replace("prose", text)
        (folder / name).write_text(rows, encoding="utf-8")
    printed = comparing(metrics=["delta_loss"], width=400)
    assert f"{text}, neighbours" in printed
    assert len(list((tmp_path / "out" / "figures").glob("*.png"))) == 2


def test_a_folder_may_be_called_anything(tmp_path):
    place = tmp_path / "runs [new] [" / "[/b]"
    run_folder(place / "runs" / "0")
    console = Terminal(file=io.StringIO(), width=100)
    compare([place / "runs"], place / "out", console, NOWHERE, metrics=["delta_loss"])
    assert f"Files in {place / 'out'}" in console.file.getvalue()
