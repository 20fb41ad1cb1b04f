"""What a run leaves of features that were switched off: tables, pictures, rows of results."""

import io

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.causal.findings import CausalFindings
from sae_match.evaluation.causal.measures import AGREEMENT, CARRIED, TOP
from sae_match.evaluation.statistics.results import Results
from sae_match.report.attempts import Attempts
from sae_match.report.pair_tables import save_tables
from sae_match.report.picture import save_pictures
from sae_match.report.validation.causal import CLASSES, print_causal, undefined_line
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.pictures.causal import causal
from tests.evaluation.causal.planted import FEATURES, sample_of, switched


@pytest.fixture(scope="module")
def found():
    """Of the network made by hand; half of the pairs are called significant."""
    sample = sample_of()
    first = torch.arange(FEATURES) < FEATURES // 2
    sample.classes.update({name: torch.zeros(FEATURES, dtype=torch.bool) for name in CLASSES if name})
    sample.classes.update({"significant": first, "not_significant": ~first})
    return CausalFindings.of({(0, 1): (sample, switched(sample, 0, 1))}, ["words"], 0)


@pytest.fixture
def outcome(found):
    return Outcome(Results([]), [], {}, {}, {}, {}, causal=found)


def test_the_terminal_says_it_by_partner_and_by_class(found):
    console = Console(file=io.StringIO(), width=80)
    print_causal(console, found)
    printed = console.file.getvalue()
    # A table breaks names where it has no room.
    for words in ("Does switching a feature off", "words, neighbours: by partner", "nearest", "random", "Left out"):
        assert words in printed
    assert max(map(len, printed.splitlines())) <= 80
    print_causal(console, None)
    assert console.file.getvalue() == printed


def test_what_is_left_out_is_said(found):
    said = undefined_line(found.spans)
    assert f"agreement of {1 / FEATURES:.1%}" in said
    assert f"top 1 of {1 / FEATURES:.1%}" in said


def test_pictures_and_tables_hold_the_same_numbers(outcome, tmp_path):
    (picture,) = causal(outcome)
    drawn = {(row["arm"], row["metric"]): row["value"] for row in picture.rows}
    rows = {(row.arm, row.metric): row.value for row in outcome.everything()}
    for metric in (CARRIED, AGREEMENT, TOP):
        assert drawn[MATCHED, metric] == rows[MATCHED, metric]
        assert drawn[MATCHED, f"{metric}_significant"] == rows[MATCHED, f"{metric}_significant"]
    save_pictures([("causal", lambda: iter([picture]))], tmp_path / "figures", Attempts())
    assert (tmp_path / "figures" / "causal.png").is_file()
    save_tables(outcome.causal.tables, tmp_path / "causal")
    table = pq.read_table(tmp_path / "causal" / "L00-L01.parquet").to_pandas()
    assert table["carried_matched"].mean() == pytest.approx(rows[MATCHED, CARRIED])
    assert table["agreement_matched"].mean() == pytest.approx(rows[MATCHED, AGREEMENT])
    assert ((table["rank"] == 1).sum() / table["causal_feature"].notna().sum()) == pytest.approx(rows[MATCHED, TOP])


def test_charts_are_of_all_features_and_tables_of_classes_too(outcome):
    assert {row.metric for row in outcome.logged()} == {CARRIED, AGREEMENT, TOP}
    assert {row.metric for row in outcome.logged_spans()} == {CARRIED, AGREEMENT, TOP}
    assert {row.metric for row in outcome.all_spans()} > {CARRIED, f"{CARRIED}_significant"}


def test_without_it_there_is_no_picture():
    assert list(causal(Outcome(Results([]), [], {}, {}, {}, {}))) == []
