"""What a validation prints and leaves behind, with small SAEs in place of the bundled ones."""

import csv
import io

import pyarrow.parquet as pq
import pytest
from lightning import Trainer
from rich.console import Console

from sae_match.errors import UserError
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.scope import Surroundings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.replicates import FILE, Replicates, hashes_of
from sae_match.evaluation.statistics.results import WEIGHTS, Results
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.report.validation import callback, pictures
from sae_match.report.validation.callback import ValidationReport
from sae_match.report.validation.progress import ValidationProgress
from tests.evaluation.validating import TEXT, fitting_text, saved, text_of


@pytest.fixture(scope="module")
def data(bundled_model):
    return text_of(bundled_model[1])


@pytest.fixture
def printed():
    return io.StringIO()


@pytest.fixture
def reported(bundled_model, data, make_sae, tmp_path, printed):
    def run(arms, spans=(1,), **matcher):
        saes = saved({layer: make_sae(layer, d_in=128, d_sae=12) for layer in (2, 3, 4)}, tmp_path / "saes")
        console = Console(file=printed, width=80)
        module = MatchValidation(
            bundled_model[0],
            saes,
            MatcherSettings(**matcher),
            EvaluationSettings(arms=arms, spans=list(spans)),
            Surroundings(MatchingCache(tmp_path / "cache" / "matchings"), tmp_path),
        )
        text = ValidationText(data, fitting_text(bundled_model[1], data))
        report = ValidationReport(console, tmp_path, text, "my model")
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=tmp_path,
            callbacks=[report, ValidationProgress(console)],
        )
        trainer.validate(module, text, verbose=False)
        return module, console.file.getvalue()

    return run


def test_a_run_leaves_its_tables_and_figures_and_prints_them(reported, tmp_path):
    module, printed = reported(["layer_drop", "linear_map", "matched", "composed"], (1, 2))
    found = Results.load(tmp_path / "results.csv")
    assert list(found)[: len(module.results)] == list(module.results)
    shares = found.select(metric="significant_share", dataset=WEIGHTS)
    assert {(row.source_layer, row.target_layer, row.arm) for row in shares} == {
        (2, 3, "matched"),
        (3, 4, "matched"),
        (2, 4, "matched"),
        (2, 4, "composed"),
    }
    spans = (tmp_path / "spans.csv").read_text().splitlines()
    assert len(spans) > 1 + len(module.spans)
    assert {file.name for file in (tmp_path / "significance").iterdir()} == {
        f"L0{source}-L0{target}.safetensors" for source, target in module.scope.pairs
    }
    assert len(list((tmp_path / "figures").glob("*.png"))) == 6 * 2 + len(
        {"threshold_scale", "pair_error", "persistence", "metric_agreement", "significance", "coactivation_by_q"}
    )
    assert {file.name for file in (tmp_path / "pairs").iterdir()} == {
        f"L0{source}-L0{target}.parquet" for source, target in module.scope.pairs
    }
    assert {file.name for file in (tmp_path / "features").iterdir()} == {f"L0{layer}.parquet" for layer in (2, 3, 4)}
    # Random SAEs, which know nothing.
    with (tmp_path / "warnings.csv").open(newline="", encoding="utf-8") as file:
        warnings = list(csv.DictReader(file))
    assert {"text_unlike", "worse_than_the_mean"} <= {row["kind"] for row in warnings}
    block = " ".join(printed[printed.index("\nWarnings\n") : printed.index("\nFiles in")].split())
    assert block == " ".join(["Warnings", *(f"{row['says']} {row['do']}" for row in warnings)])
    table = pq.read_table(tmp_path / "pairs" / "L02-L03.parquet")
    assert table.num_rows == 12 * len(TEXT.datasets)
    lines = {line.split()[0]: line for line in printed.splitlines() if line.startswith("  ")}
    assert "my model (8 layers, d = 128, float32, on cpu)" in lines["model"]
    assert "3: 2→3, 2→4, 3→4" in lines["pairs"]
    assert "linear_map on" in lines["fitting"]
    assert "matched, against 8 random targets for each pair of layers" in lines["judged"]
    answer = " ".join(printed[printed.index("What fraction of the features") : printed.index("By pair of")].split())
    assert "% of the features (95 % interval over features" in answer or "0.0% of the features (no interval)" in answer
    assert "have a partner that is better than chance at 5%, over 2 pairs of neighbours" in answer
    assert "Which: column `significance` of pairs/*.parquet" in answer
    for part in ("2 pairs of neighbours", "1 pair of layers 2 apart", "prose: clean loss", "code: clean loss"):
        assert part in printed
    assert printed.index("Plan") < printed.index("clean loss") < printed.index("Files")
    assert max(len(line) for line in printed[printed.index("clean loss") : printed.index("Files")].splitlines()) <= 80


def test_a_run_leaves_the_differences_of_its_arms_and_what_later_comparisons_need(reported, tmp_path):
    module, printed = reported(["layer_drop", "matched"])
    kept = Replicates.load(tmp_path / FILE)
    assert kept.texts == hashes_of(module.trainer.datamodule.evaluated.batches)
    assert kept.documents == dict.fromkeys(TEXT.datasets, TEXT.documents)
    results = module.results
    with (tmp_path / "differences.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    of_pairs = [row for row in rows if row["source_layer"]]
    assert len(of_pairs) > 2 * len(module.scope.pairs)
    for row in of_pairs:
        where = {name: int(row[name]) for name in ("source_layer", "target_layer")}
        where |= {name: row[name] for name in ("dataset", "metric")}
        one, other = (results.value(arm=row[name], **where) for name in ("arm", "than"))
        assert float(row["value"]) == pytest.approx(one - other)
        assert (row["arm"], row["than"]) == ("layer_drop", "matched")
    # In the terminal, of the first dataset; random SAEs are worse by so much that one digit is left.
    (mean,) = (
        row
        for row in rows
        if (row["source_layer"], row["dataset"], row["metric"]) == ("", "prose", "explained_variance")
    )
    shown = printed[printed.index("Explained share of what the layers change") :]
    line = next(line for line in shown.splitlines() if line.startswith("layer_drop"))
    assert line.split()[1:3] == ["0.00", f"{'' if mean['differs'] == 'True' else '~'}{float(mean['value']):+.1f}"]


def test_without_matched_there_is_no_table_of_pairs(reported, tmp_path):
    _, printed = reported(["layer_drop", "quantile_0.5"])
    assert not (tmp_path / "pairs").exists()
    assert "quantile_0.5" in printed
    assert "fitting" not in printed


def test_a_run_in_which_every_pair_is_rejected_is_reported(reported, tmp_path):
    module, printed = reported(["matched"], rejection_cost=1e-9)
    assert (module.matchings[2, 3].matchings["matched"].permutation == -1).all()
    assert "Files" in printed
    assert (tmp_path / "results.csv").is_file()


def test_a_picture_that_fails_takes_nothing_with_it_and_is_named_at_the_end(reported, tmp_path, monkeypatch):
    def broken(_):
        raise RuntimeError("no such glyph")
        yield

    monkeypatch.setattr(pictures, "PICTURES", (broken, *pictures.PICTURES))
    (tmp_path / "report.html").mkdir()
    message = r"failed: picture broken \(RuntimeError: no such glyph\); report.html \(.*\); everything else is in"
    with pytest.raises(UserError, match=message):
        reported(["matched", "random"])
    assert {"results.csv", "spans.csv", "warnings.csv", "pairs", "figures"} <= {
        file.name for file in tmp_path.iterdir()
    }
    assert (tmp_path / "figures" / "explained_variance.png").is_file()
    assert any(row.dataset == WEIGHTS for row in Results.load(tmp_path / "results.csv"))


def test_labels_that_cannot_be_had_take_no_table_of_pairs_with_them(reported, tmp_path, monkeypatch):
    def gone(*_):
        raise UserError("the server is gone")

    monkeypatch.setattr(callback, "save_features", gone)
    with pytest.raises(UserError, match=r"failed: tables of features .the server is gone.; everything else is in"):
        reported(["matched"])
    assert "source_label" not in pq.read_table(tmp_path / "pairs" / "L02-L03.parquet").column_names
    assert (tmp_path / "report.html").is_file()


def test_results_are_there_before_anything_is_made_of_them(reported, tmp_path, monkeypatch):
    def gone(*_):
        raise UserError("the SAE of layer 2 is gone")

    monkeypatch.setattr(callback.Outcome, "of", gone)
    with pytest.raises(UserError, match=r"what follows from the weights .the SAE of layer 2 is gone"):
        reported(["matched"])
    assert len(Results.load(tmp_path / "results.csv"))


def test_where_results_cannot_be_written_they_are_shown(reported, tmp_path, printed):
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(UserError, match=r"results.csv .cannot write"):
        reported(["matched"])
    assert "prose: clean loss" in printed.getvalue()
    assert (tmp_path / "figures" / "explained_variance.png").is_file()
