"""What calls cost, and a limit that calls at the same time cannot break together."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Lock

from sae_match.errors import UserError
from sae_match.semantics.judge.server.reading import Usage
from sae_match.semantics.judge.settings import refuse_negative_limit

# Dollars per million tokens, in and out, at OpenAI itself, as listed when the models came out.
_KNOWN = {"gpt-4o-mini": (0.15, 0.60), "gpt-4o-mini-2024-07-18": (0.15, 0.60)}
_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """Dollars per million tokens."""

    tokens_in: float
    tokens_out: float

    def of(self, usage: Usage) -> float:
        """Dollars."""
        return (usage.tokens_in * self.tokens_in + usage.tokens_out * self.tokens_out) / _MILLION


def prices_of(model: str, price_in: float | None, price_out: float | None, *, listed: bool) -> Prices | None:
    """What a model costs; none where nobody says.

    Args:
        model: Its name.
        price_in: Dollars per million tokens sent, where the user says.
        price_out: Likewise of tokens that come back.
        listed: Whether the server is OpenAI's, whose prices are known for some models.

    Raises:
        UserError: If only one price is given, or one is negative.
    """
    known = _KNOWN.get(model, (None, None)) if listed else (None, None)
    tokens_in = known[0] if price_in is None else price_in
    tokens_out = known[1] if price_out is None else price_out
    if tokens_in is None and tokens_out is None:
        return None
    if tokens_in is None or tokens_out is None or not (tokens_in >= 0 and tokens_out >= 0):
        raise UserError(
            "judge.price_in and judge.price_out must both be dollars per million tokens, 0 or more, "
            f"got {price_in} and {price_out}"
        )
    return Prices(tokens_in, tokens_out)


@dataclass
class Account:
    """What a judge did so far.

    Attributes:
        calls: That were tried, among them those that reached no server.
        cached: Questions that were answered before, or by another process meanwhile.
        tokens_in: Sent.
        tokens_out: That came back.
        cost: Dollars; none where prices are not known.
    """

    calls: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = 0.0


class Limit:
    """Dollars that the calls of one judge, or of several, may cost together.

    Args:
        dollars: How many.

    Raises:
        UserError: If they are negative.
    """

    def __init__(self, dollars: float) -> None:
        refuse_negative_limit(dollars)
        self.dollars = dollars
        self._spent, self._calls = 0.0, 0
        self._aside: list[float] = []
        self._changed = Condition()

    @classmethod
    def of(cls, dollars: float | None) -> "Limit | None":
        """A limit from settings; none for none."""
        return None if dollars is None else cls(dollars)

    @property
    def room(self) -> float:
        """Dollars that may still be spent."""
        with self._changed:
            return self.dollars - self._spent - sum(self._aside)

    def reserve(self, cost: float) -> None:
        """Set aside what a call can cost at most.

        Raises:
            UserError: If there is no room for it, and nothing under way can make any.
        """
        with self._changed:
            while self._spent + sum(self._aside) + cost > self.dollars:
                if not self._aside:
                    raise UserError(self._refusal(cost))
                self._changed.wait()
            self._aside.append(cost)

    def settle(self, aside: float, cost: float) -> None:
        """Say what a call really cost, in place of what was set aside."""
        with self._changed:
            self._aside.remove(aside)
            self._calls += 1
            self._spent += cost
            self._changed.notify_all()

    def free(self, aside: float) -> None:
        """Say that a call was not made."""
        with self._changed:
            self._aside.remove(aside)
            self._changed.notify_all()

    def _refusal(self, cost: float) -> str:
        return (
            f"the next call may cost ${cost:.6f} and would break judge.limit=${self.dollars:g}: this run has spent "
            f"${self._spent:.6f} in {self._calls:,} calls; all answers are kept, and with a higher "
            "limit the same command goes on from them"
        )


class Budget:
    """Keeps an account of a judge, and its calls within a limit.

    Before a call the most that it can cost is set aside; a call that would not fit waits until those under way have
    shown what they really cost.

    Args:
        prices: Of tokens.
        limit: Of what may be spent, perhaps by other judges too.
        record: Told of every call that was made: its tokens and dollars.

    Raises:
        UserError: If there is a limit but no prices.
    """

    def __init__(
        self, prices: Prices | None, limit: Limit | None, record: Callable[[Usage, float | None], None]
    ) -> None:
        if limit is not None and prices is None:
            raise UserError(
                f"judge.limit={limit.dollars:g} needs prices of each judge behind a server: set judge.price_in and "
                "judge.price_out, or second's (dollars per million tokens, 0 for a server of your own)"
            )
        self.prices, self.limit, self._record = prices, limit, record
        self.account = Account(cost=None if prices is None else 0.0)
        self._alone = Lock()

    @property
    def room(self) -> float | None:
        """Dollars that may still be spent; none without a limit."""
        return None if self.limit is None else self.limit.room

    def reserve(self, most: Usage) -> float:
        """Set aside what a call can cost at most, in dollars.

        Raises:
            UserError: If the limit leaves no room for it, and nothing under way can make any.
        """
        cost = 0.0 if self.prices is None else self.prices.of(most)
        if self.limit is not None:
            self.limit.reserve(cost)
        return cost

    def settle(self, aside: float, usage: Usage | None) -> None:
        """Say what a call really took, in place of what was set aside; none where it was not charged."""
        cost = None if self.prices is None or usage is None else self.prices.of(usage)
        with self._alone:
            self.account.calls += 1
            if usage is not None:
                self.account.tokens_in += usage.tokens_in
                self.account.tokens_out += usage.tokens_out
            if self.account.cost is not None:
                self.account.cost += cost or 0.0
        if self.limit is not None:
            self.limit.settle(aside, cost or 0.0)
        if usage is not None:
            self._record(usage, cost)

    def free(self, aside: float) -> None:
        """Say that a call, for which this was set aside, was not made."""
        if self.limit is not None:
            self.limit.free(aside)

    def found(self, questions: int = 1) -> None:
        """Count questions that needed no call."""
        with self._alone:
            self.account.cached += questions
