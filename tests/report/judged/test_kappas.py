"""Agreement of judges, each pair of descriptions counted once."""

import random

import pytest

from sae_match.report.judged.kappas import kappa_rows, kappas
from sae_match.semantics.answers import Answer
from sae_match.semantics.judge import Described, Verdict
from sae_match.semantics.questions import Question
from tests.report.judged.made_up import answers


def about(path, labels, texts=None, arm="matched"):
    source, target = texts or (f"first {path}", f"second {path}")
    return Answer(Question(arm, 0, path, 1, path, path), Described(source), Described(target), Verdict(labels))


def test_judges_are_compared_with_themselves_and_each_other():
    made = answers()
    single = [Answer(one.question, one.source, one.target, Verdict(one.verdict.labels[1:])) for one in made]
    found = kappas({"first": made, "second": single})
    assert list(found) == ["first, both orders", "first and second"]
    # Ten paths whose features have one description each: what is asked of both twice is counted once.
    assert found["first, both orders"].questions == 10
    # Where the orders differ, the first's label is the lower one, and the second's the higher.
    assert found["first and second"].agreement == found["first, both orders"].agreement == 0.7
    assert kappas({"alone": single}) == {}


def test_what_must_be_the_same_and_what_is_asked_twice_is_no_agreement():
    draw = random.Random(0)
    told = [about(path, (draw.choice((1, 2, 3)), draw.choice((1, 2, 3)))) for path in range(200)]
    by_chance = kappas({"judge": told})["judge, both orders"]
    assert abs(by_chance.value) < 0.15
    same = [about(path, (3, 3), ("first", "first"), "identical") for path in range(200)]
    turned = [about(at, one.verdict.labels[::-1], (one.target.text, one.source.text)) for at, one in enumerate(told)]
    assert kappas({"judge": [*told, *same, *turned]})["judge, both orders"] == by_chance


def test_kappas_become_rows():
    (row,) = kappa_rows(
        kappas({"judge": [about(path, (1 + path % 3, 3 if path == 0 else 1 + path % 3)) for path in range(9)]})
    )
    assert row.pop("low") < row["kappa"] <= row.pop("high") <= 1
    assert row == {
        "agreement_of": "judge, both orders",
        "kappa": pytest.approx((8 / 9 - 1 / 3) / (1 - 1 / 3), abs=0.01),
        "equal_labels": pytest.approx(8 / 9),
        "pairs": 9,
    }


def test_agreement_throughout_has_no_interval():
    (row,) = kappa_rows(kappas({"judge": [about(path, (1 + path % 3,) * 2) for path in range(9)]}))
    assert row == {
        "agreement_of": "judge, both orders",
        "kappa": 1.0,
        "low": None,
        "high": None,
        "equal_labels": 1.0,
        "pairs": 9,
    }
