from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sae_match.semantics.waiting import asked_wait, own_wait


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), (" 0.6 ", 0.6), ("0", 0.0), ("3600", 3600.0)])
def test_a_server_says_how_many_seconds(said, seconds):
    assert asked_wait({"retry-after": said}) == seconds


def test_a_server_says_until_when():
    then = datetime.now(UTC) + timedelta(hours=1)
    named = format_datetime(then, usegmt=True)
    for date in (named, named.replace("GMT", "-0000"), format_datetime(then)):
        assert 3590 < asked_wait({"retry-after": date}) <= 3600
    assert asked_wait({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@pytest.mark.parametrize(
    "said", ["", "soon", "-5", "nan", "inf", "²", "Thu, 99 Foo 2020", "Wed, 21 Oct 99999 07:28:00 GMT", "1,5"]
)
def test_what_is_no_time_is_none(said):
    assert asked_wait({"retry-after": said}) is None
    assert asked_wait({}) is None


def test_waits_double_up_to_a_minute_and_are_scattered():
    for tries, expected in enumerate((2, 4, 8, 16, 32, 60, 60), 1):
        waits = [own_wait(2.0, tries) for _ in range(200)]
        assert 0.5 * expected <= min(waits) < max(waits) < 1.5 * expected
        assert max(waits) > min(waits)
