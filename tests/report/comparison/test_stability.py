"""Stability over seeds, from what runs have left; expected numbers are counted by hand."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sae_match.evaluation.statistics.results import Result, Results
from sae_match.matching.result import Matching
from sae_match.matching.significance.result import NullEvidence, Significance
from sae_match.report.comparison.comparing import compare
from sae_match.report.comparison.stability import stable_layers
from sae_match.report.comparison.stability_report import stability_picture
from sae_match.report.runs import find_runs
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.terminal import Terminal
from tests.report.run_folders import run_folder

FEATURES = 10
# Of ten features: found by the first other seed, by the second.
FOUND = {"seed_1": range(8), "seed_2": range(2, 10)}
EVIDENCE = NullEvidence("second_moment", "mean", 1, 0, (0,), 10, 1.0, (0.0,) * 5)


def significance(found, target, source="a"):
    """Of ten features, of which some are found."""
    provenance = {"source": source, "target": target, "fold": "threshold", "terms": "all", "metric": "mse"}
    matching = Matching(torch.arange(FEATURES), torch.ones(FEATURES, dtype=torch.float64), 0.0, provenance)
    q = torch.tensor([0.01 if feature in found else 0.5 for feature in range(FEATURES)], dtype=torch.float64)
    return Significance(matching, q.clone(), q.clone(), q, torch.ones(FEATURES, dtype=torch.bool), EVIDENCE)


@pytest.fixture
def runs(tmp_path):
    """A run against each other seed, with tables of pairs."""
    for number, (name, found) in enumerate(FOUND.items()):
        folder = tmp_path / "runs" / str(number)
        run_folder(folder, target__source=name, evaluation__alpha=0.05)
        rows = Results.load(folder / "results.csv").rows
        own = [Result(3, 3, *list(vars(row).values())[2:10], "saes", name) for row in rows]
        Results(own).save(folder / "results.csv")
        stem = f"L03@saes-L03@{name}"
        significance(found, name).save(folder / "significance" / f"{stem}.safetensors")
        columns = {"source_feature": list(range(FEATURES)) * 2, "source_active": [*range(FEATURES)] * 2}
        (folder / "pairs").mkdir()
        pq.write_table(
            pa.table({**columns, "source_norm": [1.0 + n for n in range(FEATURES)] * 2}),
            folder / "pairs" / f"{stem}.parquet",
        )
    return tmp_path / "runs"


def test_a_feature_is_as_stable_as_other_seeds_find_it(runs):
    (layer,), notes = stable_layers(find_runs([runs])[0])
    assert (layer.layer, layer.source, sorted(layer.others), notes) == (3, "saes", ["seed_1", "seed_2"], [])
    rows = list(layer.rows())
    assert [row["share"] for row in rows] == [0.5] * 2 + [1.0] * 6 + [0.5] * 2
    # Both datasets together.
    assert [row["active"] for row in rows] == [2 * n for n in range(FEATURES)]
    assert layer.mean.value == pytest.approx(0.8)
    assert [part.share.value for part in layer.by(layer.active)] == [0.5, 1, 1, 1, 0.5]


def test_a_comparison_tells_draws_and_keeps_it(runs, tmp_path):
    console = Terminal(file=io.StringIO(), width=100)
    (kept,) = compare([runs], tmp_path / "out", console, LoggerSettings(kind="none"))
    said = console.file.getvalue()
    assert "Which features do other dictionaries of the same layer find again?" in said
    assert "layer 3, saes" in said
    assert "60.0%" in said
    lines = (tmp_path / "out" / "stability.csv").read_text().splitlines()
    assert len(lines) == 1 + FEATURES
    (picture,) = stability_picture(kept.stable)
    assert [row["share"] for row in picture.rows if row["by"] == "active"] == [0.5, 1, 1, 1, 0.5]
    assert (tmp_path / "out" / "figures" / "stability.png").is_file()


def test_one_other_seed_or_another_dictionary_says_nothing(runs):
    second = runs / "1" / "significance" / "L03@saes-L03@seed_2.safetensors"
    significance(FOUND["seed_2"], "seed_2", source="b").save(second)
    assert stable_layers(find_runs([runs])[0]) == ([], [])
    assert not list(stability_picture([]))


def test_what_cannot_be_read_is_said_and_an_older_table_is_done_without(runs):
    for table in runs.glob("*/pairs/*.parquet"):
        pq.write_table(pa.table({"source_feature": [0]}), table)
    (layer,), _ = stable_layers(find_runs([runs])[0])
    assert layer.active.isnan().all()
    assert layer.by(layer.active) == []
    (picture,) = stability_picture([layer])
    assert picture.rows == []
    (runs / "1" / "significance" / "L03@saes-L03@seed_2.safetensors").write_bytes(b"nothing")
    layers, notes = stable_layers(find_runs([runs])[0])
    assert layers == []
    assert len(notes) == 1
    assert notes[0].startswith("1, layer 3: ")


@pytest.mark.parametrize(
    "other",
    [
        {"source_feature": [str(n) for n in range(FEATURES)]},
        {"source_feature": [float(n) for n in range(FEATURES)]},
        {"source_feature": [None, *range(1, FEATURES)]},
        {"source_active": ["many"] * FEATURES},
        {"source_norm": ["long"] * FEATURES},
    ],
)
def test_a_foreign_table_says_nothing_of_features_and_keeps_nothing_back(runs, other):
    ours = {"source_feature": list(range(FEATURES)), "source_active": [7] * FEATURES, "source_norm": [1.0] * FEATURES}
    for table in runs.glob("*/pairs/*.parquet"):
        pq.write_table(pa.table(ours | other), table)
    (layer,), notes = stable_layers(find_runs([runs])[0])
    assert notes == []
    assert layer.mean.value == pytest.approx(0.8)
    assert layer.active.isnan().all()


def test_a_table_without_norms_says_how_active_features_were(runs):
    for number, table in enumerate(sorted(runs.glob("*/pairs/*.parquet"))):
        columns = pq.read_table(table)
        pq.write_table(columns if number else columns.drop_columns("source_norm"), table)
    (layer,), _ = stable_layers(find_runs([runs])[0])
    assert layer.norm.tolist() == [1.0 + n for n in range(FEATURES)]
    pq.write_table(pq.read_table(table).drop_columns("source_norm"), table)
    (layer,), _ = stable_layers(find_runs([runs])[0])
    assert layer.norm.isnan().all()
    assert layer.active.tolist() == [2 * n for n in range(FEATURES)]


def test_runs_at_different_levels_are_not_counted_together(runs):
    settings = runs / "1" / ".hydra" / "config.yaml"
    assert "alpha: 0.05" in settings.read_text()
    settings.write_text(settings.read_text().replace("alpha: 0.05", "alpha: 0.6"))
    assert stable_layers(find_runs([runs])[0]) == ([], [])


def test_a_table_of_an_earlier_comparison_does_not_stay(runs, tmp_path):
    compare([runs], tmp_path / "out", Terminal(file=io.StringIO()), LoggerSettings(kind="none"))
    for file in runs.glob("*/significance/*"):
        file.unlink()
    compare([runs], tmp_path / "out", Terminal(file=io.StringIO()), LoggerSettings(kind="none"))
    assert not (tmp_path / "out" / "stability.csv").exists()
