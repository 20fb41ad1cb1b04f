import io
from dataclasses import replace

import pytest
from rich.console import Console

from sae_match.report.judged.judgements import (
    by_cost,
    by_distance,
    by_pair,
    by_q,
    cost_table,
    distance_tables,
    kappa_table,
    of_neighbours,
    q_table,
    relative_costs,
    rows_of,
    score_table,
    shown_distances,
)
from sae_match.semantics.scores import kappa
from tests.report.judged.made_up import answer, answers


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


def test_steps_are_ranked_by_q_within_a_pair_of_layers_and_of_equal_q_by_cost():
    def step(path, q, label, cost):
        made = answer("matched", 2, 3, (label, label), path, cost)
        return replace(made, question=replace(made.question, q=q))

    # The surest mean the same; of the four that are equally sure the cheapest come first.
    steps = [
        step(number, 0.001, label, cost)
        for number, (label, cost) in enumerate([(1, 9.0), (3, 1.0), (2, 5.0), (3, 2.0)])
    ]
    steps.append(step(4, 0.9, 1, 0.5))
    assert [(number, found.value) for number, found in by_q(steps)] == [
        (0, 3.0),
        (1, 3.0),
        (2, 2.0),
        (3, 1.0),
        (4, 1.0),
    ]
    lines = printed(q_table(steps)).splitlines()
    assert lines[1].split()[:6] == ["1", "(surest)", "0", "0", "1", "0"]
    assert by_q(answers()) == []


def test_classes_stand_among_the_arms():
    both = [answer("significant", 2, 3, (3, 3), 0), answer("not_significant", 2, 3, (1, 1), 1)]
    lines = [line.split() for line in printed(score_table([*answers(), *both])).splitlines()]
    assert ["significant", "0", "0", "1", "0", "3.00"] in lines
    assert ["not_significant", "1", "0", "0", "0", "1.00"] in lines


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


def test_fifths_of_cost_are_shown_cheapest_first():
    lines = printed(cost_table(answers())).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    assert lines[1].split()[:6] == ["1", "(cheapest)", "0", "0", "6", "0"]
    assert lines[-1].split()[:6] == ["5", "(costliest)", "6", "0", "0", "0"]
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
    # Further away every path says the same: no interval.
    assert [line.count("…") for line in lines] == [1, 0, 0]
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
