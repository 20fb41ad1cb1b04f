import io

import pytest
from rich.console import Console

from sae_match.evaluation.statistics.differences import Difference
from sae_match.evaluation.statistics.results import SpanResult
from sae_match.report.tables import FORMS, by_pair, changes, charts, clean_loss, ladder, mean_and_interval, summary
from tests.report.made_up import VALUES, ends, results, spans


def printed(table, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def chosen(rows, dataset="prose", span=1):
    return [row for row in rows if row.dataset == dataset and row.span == span]


def test_charts_hold_every_number_by_target_layer():
    by_layer = dict(charts(results()))
    assert list(by_layer) == [1, 2, 3]
    assert by_layer[3]["delta_loss/code/matched"] == 2.25
    assert by_layer[3]["delta_loss/code/matched/span_2"] == 1.25
    assert "delta_loss/code/matched/span_2" not in by_layer[1]
    assert by_layer[1]["loss/prose/clean"] == 2.5
    assert sum(map(len, by_layer.values())) == len(results())


def test_the_summary_holds_means_and_their_intervals():
    found = summary(spans())
    assert found["delta_loss/code/matched"] == 0.25
    assert (found["delta_loss/code/matched/low"], found["delta_loss/code/matched/high"]) == (0.125, 0.375)
    assert found["delta_loss/code/matched/span_2"] == 0.5
    assert found["delta_loss/code/matched/span_2/high"] == 0.625
    assert len(found) == 3 * len(spans())
    assert len(summary(spans(half_width=None))) == len(spans())


def test_the_ladder_has_a_line_an_arm_with_its_intervals():
    lines = printed(ladder(chosen(spans()))).splitlines()
    assert lines[0].split() == ["arm", "explained", "variance", "delta", "loss", "matching", "score"]
    assert [line.split()[0] for line in lines[1:]] == list(VALUES)
    assert next(line for line in lines if line.startswith("matched ")).split() == [
        "matched",
        *["0.250", "0.125…0.375"] * 3,
    ]
    assert "…" not in printed(ladder(chosen(spans(half_width=None))))


# Losses in nats; variances that are explained worse than by the mean.
WIDE = {"explained_variance": -0.512, "delta_loss": 10.123, "matching_score": 0.125}
WIDER = WIDE | {"explained_variance": -12.345}


@pytest.mark.parametrize("values", [WIDE, WIDER])
def test_the_ladder_fits_a_terminal(values):
    rows = [
        SpanResult(1, arm, "prose", metric, value, *ends(value, 0.0625), 2)
        for arm in VALUES
        for metric, value in values.items()
    ]
    lines = printed(ladder(rows)).rstrip("\n").split("\n")
    assert len(lines) == 1 + len(VALUES)
    assert max(map(len, lines)) <= 80
    for value in values.values():
        # Fewer digits behind the point where there are more before it.
        digits = 3 if abs(value) < 9.9 else 1
        shown = [f"{number:.{digits}f}" for number in (value, value - 0.0625, value + 0.0625)]
        assert all(f"{shown[0]} {shown[1]}…{shown[2]}" in line for line in lines[1:])


def test_the_second_ladder_fits_a_terminal_too():
    rows = [SpanResult(1, arm, "prose", metric, -0.512, -0.625, -0.375, 2) for arm in VALUES for metric in FORMS]
    lines = printed(ladder(rows, FORMS)).rstrip("\n").split("\n")
    assert lines[0].split() == ["arm", "by", "dimension", "behind", "the", "norm", "loss", "recovered"]
    assert len(lines) == 1 + len(VALUES)
    assert max(map(len, lines)) <= 80
    assert all(line.rstrip().endswith("-0.51 -0.62…-0.38") for line in lines[1:])


def apart(arm, metric, value, low, high):
    differs = low > 0 or high < 0
    return Difference(1, None, None, arm, "matched", "prose", metric, value, low, high, 2, differs)


def test_the_third_ladder_has_what_is_explained_of_the_change_and_what_is_more_than_matched():
    means = [
        SpanResult(1, "layer_drop", "prose", "explained_change", 0.0, None, None, 2),
        SpanResult(1, "matched", "prose", "explained_change", -1.698, -1.849, -1.578, 2),
    ]
    differences = [
        apart("layer_drop", "explained_variance", 0.25, 0.125, 0.375),
        apart("layer_drop", "delta_loss", -0.0625, -0.25, 0.125),
    ]
    lines = [line.split() for line in printed(changes(means, differences)).splitlines()]
    assert lines == [
        ["arm", "explained", "change", "variance", "vs", "matched", "loss", "vs", "matched"],
        ["layer_drop", "0.00", "+0.250", "0.125…0.375", "~-0.062", "-0.250…0.125"],
        ["matched", "-1.70", "-1.85…-1.58"],
    ]
    assert "vs" not in printed(changes(means, []))
    assert changes(chosen(spans()), []) is None


def test_the_third_ladder_fits_a_terminal_too():
    means = [SpanResult(1, arm, "prose", "explained_change", -7.51, -7.62, -7.37, 2) for arm in VALUES]
    differences = [
        apart(arm, metric, -0.512, -0.625, high)
        for arm in VALUES
        for metric, high in (("explained_variance", -0.375), ("delta_loss", 0.375))
    ]
    lines = printed(changes(means, differences)).rstrip("\n").split("\n")
    assert len(lines) == 1 + len(VALUES)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.25, 0.75, "+0.500"), (-0.25, 0.75, "~+0.500"), (None, None, "~+0.500")],
)
def test_a_difference_has_a_sign_and_a_mark_where_it_may_be_none(low, high, expected):
    row = SpanResult(1, "matched", "prose", "delta_loss", 0.5, low, high, 2)
    assert mean_and_interval(row, apart=True)[0] == expected
    assert mean_and_interval(row)[0] == "0.500"


def test_what_is_rounded_to_zero_has_no_sign():
    row = SpanResult(1, "mean", "prose", "explained_variance", -1e-11, -1e-10, 1e-10, 2)
    assert "0.000 0.000…0.000" in printed(ladder([row]))
    assert "-0" not in printed(ladder([row]))


def test_many_pairs_are_split_into_tables():
    tables = [printed(table).splitlines() for table in by_pair(results(), "delta_loss", "code", 2)]
    assert [lines[0].split() for lines in tables] == [["arm", "0→1", "0→2"], ["arm", "1→2", "1→3"], ["arm", "2→3"]]
    for lines, values in zip(tables, (["0.250"] * 2, ["1.250"] * 2, ["2.250"]), strict=True):
        assert next(line for line in lines if line.startswith("matched ")).split()[1:] == values
        assert len(lines) == 1 + len(VALUES)
    assert max(len(line) for lines in tables for line in lines) <= 80


def test_a_pair_without_an_arm_has_an_empty_cell():
    rows = type(results())(row for row in results() if row.arm != "composed" or row.target_layer - row.source_layer > 1)
    (table,) = by_pair(rows, "delta_loss", "prose", 9)
    line = next(line for line in printed(table).splitlines() if line.startswith("composed"))
    assert line.split() == ["composed", "0.500", "1.500"]


def test_the_clean_loss_is_that_of_the_dataset():
    assert clean_loss(results(), "code") == 2.5
