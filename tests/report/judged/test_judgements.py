import csv
import io
import math
import warnings

import pytest
from rich.console import Console

from sae_match.report.judged.judgements import (
    Answer,
    by_cost,
    by_distance,
    by_pair,
    cost_table,
    distance_tables,
    kappa_table,
    of_neighbours,
    relative_costs,
    results_of,
    rows_of,
    score_table,
    scored,
    shown_distances,
    spans_of,
)
from sae_match.report.judged.pictures import pictures
from sae_match.semantics.judge import Described, Verdict
from sae_match.semantics.questions import Question
from sae_match.semantics.scores import kappa


def answer(arm, source, target, labels, path=0, cost=math.nan):
    question = Question(arm, source, path, target, path + 1, path, cost)
    return Answer(question, Described(f"first {path}"), Described(f"second {path}"), Verdict(labels))


def answers():
    """Ten paths from layer 2 to 5: cheap steps are the same, dear ones differ; random ones always differ."""
    made = []
    for path in range(10):
        label = (3, 3) if path < 4 else (2, 3) if path < 7 else (1, 1)
        for layer in (2, 3, 4):
            made.append(answer("matched", layer, layer + 1, label, path, cost=float(path + 10 * layer)))
            made.append(answer("random", layer, layer + 1, (1, 1), path))
            made.append(answer("identical", layer, layer, (3, 3), path, 0.0))
        for target in (4, 5):
            made.append(answer("matched", 2, target, (2, 2), path))
            made.append(answer("composed", 2, target, (1, 2), path))
    made.append(answer("nearest", 2, 3, (), 0))
    return made


def test_answers_are_scored_by_arm_and_pair_of_layers():
    found = dict(by_pair(answers()))
    assert found["matched", 2, 3].counts == (3, 3, 4, 0)
    assert found["matched", 2, 3].value == pytest.approx((4 * 3 + 3 * 2.5 + 3) / 10)
    assert found["composed", 2, 5].value == 1.5
    assert found["nearest", 2, 3].counts == (0, 0, 0, 1)
    assert next(iter(found))[0] == "identical"


def test_neighbours_are_steps_of_paths():
    made = answers()
    assert {one.question.distance for one in of_neighbours(made, "matched")} == {1}
    assert len(of_neighbours(made, "matched")) == 30
    assert len(of_neighbours(made, "identical")) == 30
    assert of_neighbours(made, "composed") == []


def test_costs_are_ranked_within_a_pair_of_layers():
    fifths = by_cost(answers())
    assert [number for number, _ in fifths] == [0, 1, 2, 3, 4]
    assert [found.value for _, found in fifths] == [3.0, 3.0, 2.5, pytest.approx(1.75), 1.0]
    assert all(sum(found.counts) == 6 for _, found in fifths)


def test_results_have_scores_and_shares():
    rows = {(row.arm, row.source_layer, row.target_layer, row.metric): row for row in results_of(answers(), "me")}
    row = rows["matched", 2, 3, "semantic_score"]
    assert (row.dataset, row.tokens, row.documents) == ("me", 10, 10)
    assert row.low < row.value < row.high
    assert rows["matched", 2, 3, "semantic_share_3"].value == 0.4
    assert math.isnan(rows["nearest", 2, 3, "semantic_share_1"].value)


def test_every_answer_is_kept_with_what_was_shown():
    (row, *others) = rows_of(answers())
    assert (row["arm"], row["label"], row["score"]) == ("matched", 3, 3.0)
    assert (row["source_description"], row["target_description"]) == ("first 0", "second 0")
    assert all(tuple(other) == tuple(row) for other in others)


def printed(table):
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return console.file.getvalue()


def test_tables_show_counts_and_intervals_in_eighty_columns():
    shown = printed(score_table(answers()))
    assert max(map(len, shown.splitlines())) <= 80
    matched = next(line for line in shown.splitlines() if line.startswith("matched")).split()
    assert matched[1:5] == ["9", "9", "12", "0"]
    nearest = next(line for line in shown.splitlines() if line.startswith("nearest")).split()
    assert nearest[1:] == ["0", "0", "0", "1", "-"]
    assert "100%" in printed(kappa_table({"a and b": kappa([1, 2, 3], [1, 2, 3], [0, 1, 2])}))


def test_a_lone_pair_is_neither_cheap_nor_dear_and_few_are_spread_evenly():
    for count, fifths in ((1, [2]), (2, [1, 3]), (3, [0, 2, 4]), (7, [0, 1, 1, 2, 3, 3, 4])):
        steps = [answer("matched", 2, 3, (3, 3), path, cost=float(path)) for path in range(count)]
        found = [number for number, score in by_cost(steps) for _ in range(sum(score.counts))]
        assert found == fifths


def test_costs_are_told_in_medians_of_their_layers():
    steps = [
        answer("matched", layer, layer + 1, (layer, layer), path, 10.0**layer * (path + 1))
        for layer in (1, 2)
        for path in range(3)
    ]
    assert relative_costs(steps) == {1: [0.5, 1.0, 1.5], 2: [0.5, 1.0, 1.5], 3: []}


def test_spans_have_what_tables_and_pictures_show():
    rows = {(row.span, row.arm, row.metric): row for row in spans_of(answers(), "me")}
    for arm, span in (("matched", 1), ("random", 1), ("identical", 0)):
        found = scored(of_neighbours(answers(), arm))
        row = rows[span, arm, "semantic_score"]
        assert (row.value, row.low, row.high, row.dataset, row.pairs) == (found.value, found.low, found.high, "me", 3)
    assert rows[3, "composed", "semantic_score"].value == 1.5
    assert rows[1, "matched", "semantic_score_fifth_5"].value == 1


def test_fifths_of_cost_are_shown_cheapest_first():
    lines = printed(cost_table(answers())).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    assert lines[1].split()[:6] == ["1", "(cheapest)", "0", "0", "6", "0"]
    assert lines[-1].split()[:6] == ["5", "(dearest)", "6", "0", "0", "0"]
    assert cost_table([answer("random", 2, 3, (1, 1))]).row_count == 0


def test_distances_are_of_layers_that_descendants_are_followed_from():
    assert [key for key, _ in by_distance(answers())] == [
        *(("matched", 2, target) for target in (3, 4, 5)),
        *(("composed", 2, target) for target in (4, 5)),
    ]
    (table,) = distance_tables(answers())
    head, *lines = printed(table).splitlines()
    assert "from 2, exact" in head
    assert "from 2, composed" in head
    # The matching of neighbours is composed of nothing.
    assert [line.split()[:2] for line in lines] == [["1", "2.25"], ["2", "2.00"], ["3", "2.00"]]
    assert [line.count("…") for line in lines] == [1, 2, 2]
    assert list(distance_tables([answer("matched", 2, 3, (3, 3))])) == []


def test_tables_by_distance_fit_a_terminal_for_sixteen_layers_and_any_starts():
    made = [
        answer(arm, start, target, (2, 3) if path % 2 else (1, 1), path)
        for start in (10, 12, 17)
        for arm in ("matched", "composed")
        for target in range(start + (1 if arm == "matched" else 2), 26)
        for path in range(9)
    ]
    shown = [printed(table).splitlines() for table in distance_tables(made)]
    assert [len(lines) for lines in shown] == [1 + 11, 1 + 8]
    assert max(len(line) for lines in shown for line in lines) <= 80
    assert shown[0][-1].split()[0] == "15"
    assert "…" in shown[0][-1]


@pytest.mark.parametrize(
    ("furthest", "shown"),
    [
        (0, []),
        (3, [1, 2, 3]),
        (12, list(range(1, 13))),
        (15, [1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15]),
        (25, [1, 2, 3, 4, 5, 6, 9, 13, 17, 21, 25]),
    ],
)
def test_near_distances_are_shown_and_some_of_the_far_ones(furthest, shown):
    assert shown_distances(range(1, furthest + 1)) == shown


def test_there_is_a_picture_for_each_of_the_papers(tmp_path):
    drawn = {picture.name: picture for picture in pictures(answers())}
    assert set(drawn) == {"semantic_counts", "semantic_arms", "semantic_by_cost", "semantic_by_distance"}
    for picture in drawn.values():
        picture.save(tmp_path)
    with (tmp_path / "semantic_arms.csv").open(newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert float(rows["random"]["score"]) == 1
    assert list(rows) == ["identical", "matched", "nearest", "random"]
    steps = drawn["semantic_counts"].rows
    assert [(row["target_layer"], row["same"]) for row in steps] == [(3, 4), (4, 4), (5, 4)]
    lines = {
        line.get_label(): line.get_xydata().tolist() for line in drawn["semantic_by_distance"].figure.axes[0].lines
    }
    assert [at for at, _ in lines["from layer 2, composed"]] == [1, 2, 3]
    assert lines["from layer 2, exact"][1] == [2, 2.0]


def test_a_judge_that_always_says_the_same_is_drawn_without_a_warning():
    alike = [answer("matched", 2, 3, (2, 2), path, cost=float(path)) for path in range(10)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {picture.name for picture in pictures(alike)} == {"semantic_counts", "semantic_arms", "semantic_by_cost"}
    silent = [answer("matched", 2, 3, (), path, cost=float(path)) for path in range(3)]
    assert len(list(pictures(silent))) == 3
