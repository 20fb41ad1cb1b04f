import math

import pytest

from sae_match.errors import UserError
from sae_match.semantics.judge import Described, Estimate, JudgeSettings, open_judge
from sae_match.semantics.judge.overlap_judge import normalised, overlap


def described(**shares):
    return Described("", tuple(shares.items()))


@pytest.fixture
def judge(tmp_path):
    return open_judge(JudgeSettings(cuts=[0.1, 0.5]), tmp_path)


def test_the_overlap_is_what_is_common(judge):
    pairs = [
        (described(a=0.5, b=0.5), described(a=0.5, b=0.5)),
        (described(a=0.75, b=0.25), described(a=0.25, c=0.75)),
        (described(a=1.0), described(b=1.0)),
    ]
    verdicts = judge.judge(pairs)
    assert [verdict.detail for verdict in verdicts] == [1.0, 0.25, 0.0]
    assert [verdict.labels for verdict in verdicts] == [(3,), (2,), (1,)]


def test_the_overlap_is_one_minus_the_total_variation_distance():
    first, second = normalised([("a", 2.0), ("b", 3.0), ("c", 5.0)]), normalised([("b", 1.0), ("c", 1.0), ("d", 2.0)])
    distance = sum(abs(first.get(token, 0) - second.get(token, 0)) for token in "abcd") / 2
    assert overlap(first, second) == overlap(second, first) == pytest.approx(1 - distance)


def test_tokens_are_compared_without_space_and_case_but_space_is_kept():
    assert normalised([(" Dog", 1.0), ("dog", 1.0), ("DOG ", 2.0)]) == {"dog": 1.0}
    assert normalised([("\n", 1.0), ("  ", 1.0)]) == {"\n": 0.5, "  ": 0.5}
    assert normalised([("Straße", 1.0), ("STRASSE", 1.0)]) == {"strasse": 1.0}


def test_without_a_profile_there_is_no_label(judge):
    (verdict,) = judge.judge([(described(a=1.0), Described("never active"))])
    assert verdict.labels == ()
    assert "no token profile" in verdict.reason


@pytest.mark.parametrize("share", [-0.1, math.nan, math.inf])
def test_a_share_that_is_none_is_refused(judge, share):
    with pytest.raises(UserError, match="share"):
        judge.judge([(described(a=share), described(a=1.0))])


def test_it_takes_nothing_and_tells_how_far_it_is(judge):
    pairs = [(described(a=1.0), described(a=1.0))] * 2
    told = []
    judge.judge(pairs, lambda *progress: told.append(progress))
    assert told == [(1, 2), (2, 2)]
    assert judge.estimate(pairs) == Estimate()
    assert judge.judge([]) == []
