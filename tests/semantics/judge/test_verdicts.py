import math

import pytest

from sae_match.errors import UserError
from sae_match.semantics.judge import Judge, JudgeSettings, Verdict, open_judge
from sae_match.semantics.judge.verdicts import Cuts, Estimate


@pytest.mark.parametrize(
    ("labels", "score", "label"),
    [((3, 3), 3, 3), ((3, 2), 2.5, 2), ((3, 1), 2, 2), ((2, 1), 1.5, 1), ((2,), 2, 2)],
)
def test_a_pair_is_the_same_only_if_both_orders_say_so(labels, score, label):
    assert (Verdict(labels).score, Verdict(labels).label) == (score, label)


def test_without_labels_there_is_neither_score_nor_label():
    assert math.isnan(Verdict(()).score)
    assert Verdict(()).label is None


def test_cuts_belong_to_the_label_above():
    cuts = Cuts.of([0.25, 0.5])
    assert [cuts.label(similarity) for similarity in (-1.0, 0.2, 0.25, 0.4, 0.5, 1.0)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("wrong", [[0.5], [0.5, 0.2], [0.1, 0.2, 0.3], [math.nan, 0.5]])
def test_cuts_that_are_none_are_refused(wrong, tmp_path):
    with pytest.raises(UserError, match="two ascending"):
        open_judge(JudgeSettings(cuts=wrong), tmp_path)


def test_an_estimate_is_one_line():
    assert str(Estimate(3200, 12, 800_000, 600_000, 0.48)) == (
        "3,200 calls (12 answered before), about 800,000 tokens in and up to 600,000 out, about $0.48, "
        "and more for questions that must be asked again"
    )
    assert "at a price that is not known" in str(Estimate(1, cost=None))


def test_the_default_needs_no_model(tmp_path):
    judge = open_judge(JudgeSettings(), tmp_path)
    assert isinstance(judge, Judge)
    assert judge.name == "token_overlap"
    assert list(tmp_path.iterdir()) == []


def test_a_judge_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="token_overlap, embedding, openai"):
        open_judge(JudgeSettings("oracle"), tmp_path)
