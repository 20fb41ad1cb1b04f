import math
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from sae_match.errors import UserError
from sae_match.semantics.judge.server.budget import Budget, Limit, Prices, prices_of
from sae_match.semantics.judge.server.reading import Usage

# A dollar for a token.
DEAR = Prices(1e6, 1e6)


@contextmanager
def waiting(purse, most):
    """A call that finds no room until something happens in the block, and does then."""
    through = Event()
    call = Thread(target=lambda: (purse.reserve(most), through.set()))
    call.start()
    assert not through.wait(0.1)
    yield
    assert through.wait(5)
    call.join()


def budget(limit=None, prices=DEAR):
    recorded = []
    return Budget(prices, Limit.of(limit), lambda *call: recorded.append(call)), recorded


def test_a_call_is_charged_what_it_took():
    purse, recorded = budget(10.0)
    purse.settle(purse.reserve(Usage(4, 2)), Usage(1, 2))
    assert vars(purse.account) == {"calls": 1, "cached": 0, "tokens_in": 1, "tokens_out": 2, "cost": 3.0}
    assert recorded == [(Usage(1, 2), 3.0)]


def test_a_call_that_was_not_charged_costs_nothing():
    purse, recorded = budget(5.0)
    purse.settle(purse.reserve(Usage(4, 0)), None)
    assert (purse.account.calls, purse.account.cost) == (1, 0.0)
    assert recorded == []


def test_a_call_that_would_break_the_limit_is_refused():
    purse, _ = budget(5.0)
    purse.settle(purse.reserve(Usage(3, 0)), Usage(3, 0))
    with pytest.raises(UserError, match=r"judge.limit=\$5.*spent \$3.0+ in 1 calls.*kept"):
        purse.reserve(Usage(3, 0))
    assert purse.reserve(Usage(2, 0)) == 2.0


def test_a_call_waits_for_those_under_way_to_show_their_cost():
    purse, _ = budget(5.0)
    aside = purse.reserve(Usage(4, 0))
    with waiting(purse, Usage(3, 0)):
        purse.settle(aside, Usage(1, 0))


def test_judges_that_share_a_limit_keep_it_together():
    limit = Limit(5.0)
    one, other = (Budget(DEAR, limit, lambda *_: None) for _ in range(2))
    one.settle(one.reserve(Usage(2, 0)), Usage(2, 0))
    aside = other.reserve(Usage(2, 0))
    with waiting(one, Usage(2, 0)):
        other.settle(aside, Usage(1, 0))
    one.settle(2.0, Usage(2, 0))
    assert (one.account.cost, other.account.cost) == (4.0, 1.0)
    with pytest.raises(UserError, match=r"judge.limit=\$5.*spent \$5.0+ in 3 calls"):
        other.reserve(Usage(1, 0))


def test_prices_are_listed_for_the_papers_judge_at_its_own_server():
    assert prices_of("gpt-4o-mini", None, None, listed=True) == Prices(0.15, 0.60)
    assert prices_of("gpt-4o-mini", None, None, listed=False) is None
    assert prices_of("gpt-4o-mini", 1.0, 2.0, listed=True) == Prices(1.0, 2.0)
    assert prices_of("another", None, None, listed=True) is None
    assert Prices(0.15, 0.60).of(Usage(1_000_000, 1_000_000)) == pytest.approx(0.75)


@pytest.mark.parametrize(("price_in", "price_out"), [(1.0, None), (None, 1.0), (-1.0, 1.0), (math.nan, 1.0)])
def test_half_a_price_is_refused(price_in, price_out):
    with pytest.raises(UserError, match="dollars per million tokens"):
        prices_of("another", price_in, price_out, listed=True)


def test_a_limit_needs_prices():
    with pytest.raises(UserError, match="needs prices"):
        budget(1.0, None)
    with pytest.raises(UserError, match="not be negative"):
        budget(-1.0)


def test_without_prices_there_is_no_cost():
    purse, recorded = budget(prices=None)
    purse.settle(purse.reserve(Usage(4, 0)), Usage(4, 0))
    assert purse.account.cost is None
    assert recorded == [(Usage(4, 0), None)]
