"""What goes to Weights & Biases, read back from where it was logged."""

import json
import math

import lightning as L
import numpy as np
import pyarrow as pa
import pytest
import wandb

from sae_match.report.tables import charts, summary
from sae_match.report.tracking import records
from sae_match.report.tracking.logger import open_logger, where_to_look
from sae_match.report.tracking.records import log_files, log_validation, sampled, table_of
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.report.validation.pictures.metrics import metric_pictures
from sae_match.report.validation.recording import record_of
from tests.report.made_up import pair_tables, results, spans
from tests.report.offline import about, artifacts, only_run, read_back
from tests.report.tracking.saved import CAUTIONS, saved_run


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Folder of an offline run, and its records."""
    folder = tmp_path_factory.mktemp("logged")
    drawn = list(metric_pictures(results(), spans()))
    for picture in drawn:
        picture.save(folder / "figures")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("WANDB_API_KEY", raising=False)
        environment.delenv("WANDB_MODE", raising=False)
        settings = LoggerSettings(mode="offline", group="tests")
        with open_logger(settings, folder, {"matcher": {"fold": "none"}}) as logger:
            log_validation(logger, record_of(results(), spans(), pair_tables(), CAUTIONS), drawn, folder / "figures")
            assert "wandb sync" in where_to_look(logger)
    assert wandb.run is None
    (run,) = folder.glob("wandb/offline-run-*")
    return run, read_back(run)


def history(logged):
    return [record["history"]["item"] for record in logged[1] if record["type"] == "history"]


def test_every_number_is_charted_by_its_target_layer(logged):
    by_layer = {item["layer"]: item for item in history(logged) if "layer" in item}
    for layer, values in charts(results()):
        assert {name: by_layer[layer][f"by_layer/{name}"] for name in values} == values
    metrics = [record["metric"] for record in logged[1] if record["type"] == "metric"]
    assert {"glob_name": "by_layer/*", "step_metric": "layer"}.items() <= metrics[-1].items()


def test_the_summary_has_means_and_their_intervals(logged):
    kept = {}
    for record in logged[1]:
        if record["type"] == "summary":
            kept |= record["summary"]["update"]
    assert {name: kept[name] for name in summary(spans())} == summary(spans())
    assert kept["delta_loss/code/matched/low"] == 0.125
    assert kept["delta_loss/code/matched/span_2/high"] == 0.625


def test_warnings_are_a_table_and_their_number_is_in_the_summary(logged):
    (file,) = logged[0].glob("files/media/table/warnings*.json")
    assert json.loads(file.read_text()) | {"ncols": 4, "nrows": 2} == {
        "columns": ["kind", "where", "says", "do"],
        "data": [["dead_features", "layer 3", "Many never fire.", "Train longer."], ["x", "0→1", "Odd.", "Look."]],
        "ncols": 4,
        "nrows": 2,
    }
    kept = {}
    for record in logged[1]:
        if record["type"] == "summary":
            kept |= record["summary"]["update"]
    assert kept["warnings_given"] == 2


def test_the_pairs_are_a_table_and_their_costs_histograms(logged):
    (file,) = logged[0].glob("files/media/table/pairs*.json")
    table, expected = json.loads(file.read_text()), sampled(pair_tables().values())
    assert table["columns"] == expected.column_names
    rows = [list(row.values()) for row in expected.to_pylist()]
    assert [[none_if_nan(value) for value in row] for row in table["data"]] == [
        [none_if_nan(value) for value in row] for row in rows
    ]
    costs = {}
    for item in history(logged):
        costs |= {name: value for name, value in item.items() if name.startswith("pair_cost/")}
    # Each pair once, though there are two datasets; an unknown cost is left out.
    assert sum(costs["pair_cost/L00-L01.values"]) == 3
    assert sum(costs["pair_cost/L01-L02.values"]) == 1
    assert (costs["pair_cost/L00-L01.bins"][0], costs["pair_cost/L00-L01.bins"][-1]) == (1, 4)


def test_matchings_are_an_artifact_with_their_provenance_and_results_another(tmp_path):
    logged = {}
    for name in ("first", "second"):
        saved_run(tmp_path / name)
        with open_logger(LoggerSettings(mode="offline", job_type="validate"), tmp_path / name, {}) as logger:
            log_files(logger, tmp_path / name)
        records = only_run(tmp_path / name)
        assert about(records)["job_type"] == "validate"
        logged[name] = artifacts(records)
    matching, found = logged["first"]["matching"], logged["first"]["results"]
    contents = {entry["path"]: entry["local_path"] for entry in matching["manifest"]["contents"]}
    # Read from where they are when the run is uploaded, not copied.
    assert contents == {
        f"matchings/{name}.safetensors": str(tmp_path / "first" / "matchings" / f"{name}.safetensors")
        for name in ("L00-L01", "L01-L02")
    }
    provenance = json.loads(matching["metadata"])["pairs"]
    assert provenance["L00-L01"].items() >= {"solver": "dense", "fold": "threshold", "cost": 0.75}.items()
    assert (provenance["L00-L01"]["lower_bound"], provenance["L01-L02"]["lower_bound"]) == (0.75, None)
    files = {entry["path"] for entry in found["manifest"]["contents"]}
    assert {"results.csv", "spans.csv", "warnings.csv", "pairs/L00-L01.parquet", "figures/delta_loss.svg"} <= files
    # Logged as images and tables already.
    assert not any(name.endswith(".png") or (name.startswith("figures/") and name.endswith(".csv")) for name in files)
    # Equal matchings are one artifact, each run's results are its own.
    assert logged["second"]["matching"]["name"] == matching["name"]
    assert logged["second"]["matching"]["digest"] == matching["digest"]
    assert logged["second"]["results"]["name"] != found["name"]


def none_if_nan(value):
    return None if value == "NaN" or (isinstance(value, float) and math.isnan(value)) else value


def test_figures_and_settings_are_logged(logged):
    assert len(list(logged[0].glob("files/media/images/figures/*.png"))) == 3 * 4
    assert any("figures/delta_loss_by_distance._type" in item for item in history(logged))
    (run,) = (record["run"] for record in logged[1] if record["type"] == "run")
    assert run["config"]["update"]["matcher"] == {"fold": "none"}
    assert run["run_group"] == "tests"


def test_a_disabled_run_is_logged_to_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with open_logger(LoggerSettings(), tmp_path, {}) as logger:
        log_validation(logger, record_of(results(), spans(), {}), [], tmp_path)
        assert where_to_look(logger) == "disabled"
    assert list(tmp_path.glob("wandb/*run-*")) == []


def test_the_csv_logger_keeps_the_summary(tmp_path):
    with open_logger(LoggerSettings(kind="csv"), tmp_path, {}) as logger:
        assert isinstance(logger, L.pytorch.loggers.CSVLogger)
        log_validation(logger, record_of(results(), spans(), {}), [], tmp_path)
    header = (tmp_path / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"delta_loss/code/matched", "delta_loss/code/matched/low", "delta_loss/code/matched/span_2"} <= set(header)


def numbered(*starts):
    """Tables of four rows each, numbered on from these."""
    return [pa.table({"number": np.arange(4) + start}) for start in starts]


def test_few_pairs_are_all_kept():
    assert sampled(numbered(0, 4)).num_rows == 8


def test_too_many_pairs_are_sampled_in_order(monkeypatch):
    monkeypatch.setattr(records, "MOST_PAIRS", 5)
    chosen = [sampled(numbered(0, 4), seed)["number"].to_pylist() for seed in (0, 0, 1, 2)]
    for numbers in chosen:
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 5
    assert chosen[0] == chosen[1]
    assert len(set(map(tuple, chosen))) > 1


COLUMNS = {
    "a feature": [3, 4, None],
    "a number": [0.5, None, math.nan],
    "counted or not": [1, 2.5, None],
    "said": ["a", "b", None],
    "live": [True, None, False],
    "nothing": [None, None, None],
    "lists": [[1], [2, 3], []],
}


@pytest.mark.parametrize("names", [[*COLUMNS], ["nothing", "said"], [*COLUMNS][:5]], ids=["all", "nothing", "plain"])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_table_is_what_weights_and_biases_makes_of_its_rows(names, rows):
    data = [list(row) for row in zip(*(COLUMNS[name] for name in names), strict=True)][:rows]
    theirs, ours = wandb.Table(columns=names, data=data), table_of(names, data)
    assert ours.columns == theirs.columns
    assert ours.data == theirs.data
    assert ours._column_types.to_json() == theirs._column_types.to_json()
