"""A language model behind a server as judge: asked in both orders, never twice."""

import json
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from threading import Event

from sae_match.errors import UserError
from sae_match.semantics.judge.rubric import SCHEMA, cleaned, read_rubric
from sae_match.semantics.judge.server.asking import Outcome, Patience, ask_all
from sae_match.semantics.judge.server.budget import Account, Budget, Limit, prices_of
from sae_match.semantics.judge.server.connection import obstacle, refuse_no_way
from sae_match.semantics.judge.server.failures import UnansweredError
from sae_match.semantics.judge.server.reading import Reply, Usage, reason_in
from sae_match.semantics.judge.server.server import Server
from sae_match.semantics.judge.server.store import OrderedPair, Origin, Store
from sae_match.semantics.judge.settings import JudgeSettings, address, has_listed_prices, refuse_impossible_judge
from sae_match.semantics.judge.verdicts import DescribedPair, Estimate, Verdict, Watch, silent

# For an estimate, in English.
_CHARACTERS_A_TOKEN = 4


class OpenAIJudge:
    """Asks a model for a label of each pair, once in each order, which cancels a preference for a position.

    Args:
        settings: With a model.
        cache: Folder in which answers are kept.
        limit: What it may spend.

    Raises:
        UserError: If a setting or the key cannot be, or the folder cannot be written.
    """

    def __init__(self, settings: JudgeSettings, cache: Path, limit: Limit | None) -> None:
        refuse_impossible_judge(settings)
        refuse_no_way(settings)
        self._settings, self._model = settings, settings.model or ""
        self.name = f"openai {self._model}"
        self._rubric = read_rubric(settings.prompt)
        self._address = address(settings)
        self._origin = Origin("openai", self._model, self._address, self._rubric.version, settings.again)
        prices = prices_of(self._model, settings.price_in, settings.price_out, listed=has_listed_prices(settings))
        self._budget = Budget(prices, limit, self._record)
        self._store = Store(cache)
        self._server: Server | None = None

    @property
    def account(self) -> Account:
        """What this judge did so far."""
        return self._budget.account

    def obstacle(self) -> str | None:
        """What keeps it from asking anything that is not answered yet: no key, or a server that is not there.

        Raises:
            UserError: If nothing is answered yet either.
        """
        found = obstacle(self._settings)
        if found is not None and not self._store.holds_any(self._origin):
            raise UserError(found)
        return found

    def estimate(self, pairs: Sequence[DescribedPair]) -> Estimate:
        """What judging these pairs would take; asks nobody and needs no key."""
        orders = self._all_orders(pairs)
        found = self._store.find(orders)
        missing = [order for order in orders if order not in found]
        tokens_in = sum(map(self._tokens, missing))
        usage = Usage(tokens_in, len(missing) * self._settings.max_tokens)
        prices = self._budget.prices
        cost = None if prices is None else prices.of(usage)
        return Estimate(len(missing), len(found), usage.tokens_in, usage.tokens_out, cost, self._budget.room)

    def judge(self, pairs: Sequence[DescribedPair], watch: Watch = silent) -> list[Verdict]:
        """A verdict for each pair: two labels, one an order; without any where one order got none.

        Args:
            pairs: Of descriptions; without a label where one is empty.
            watch: Told how many ordered pairs are answered, and of how many.

        Raises:
            UserError: If there is no key or a wrong one, the server or the model cannot answer, or the
                spending limit is reached. All answers are kept, also after an interruption.
        """
        orders = self._all_orders(pairs)
        outcomes: dict[OrderedPair, Outcome] = dict(self._store.find(orders))
        self._budget.found(len(outcomes))
        missing = [order for order in orders if order not in outcomes]
        watch(len(outcomes), len(orders))
        patience = Patience(worked=bool(outcomes))

        def told(order: OrderedPair, outcome: Outcome, elsewhere: bool) -> None:
            self._budget.found(int(elsewhere))
            patience.hear(outcome)
            outcomes[order] = outcome
            watch(len(outcomes), len(orders))

        if missing:
            self._server = self._server or Server(self._settings, self._budget)
            ask_all(missing, self._ask, self._store, self._settings.concurrency, told)
            patience.end()
        return [_verdict([outcomes[order] for order in self._orders(pair)]) for pair in pairs]

    def _ask(self, order: OrderedPair, stop: Event) -> Reply:
        assert self._server is not None
        return self._server.ask(self._rubric, order.first, order.second, stop)

    def _all_orders(self, pairs: Sequence[DescribedPair]) -> list[OrderedPair]:
        """Different ordered pairs, in the sequence of the pairs."""
        return list(dict.fromkeys(chain.from_iterable(map(self._orders, pairs))))

    def _orders(self, pair: DescribedPair) -> list[OrderedPair]:
        first, second = (cleaned(side.text) for side in pair)
        orders = [(first, second), (second, first)] if first and second else []
        return [OrderedPair(*self._origin, *order) for order in orders]

    def _tokens(self, order: OrderedPair) -> int:
        messages = self._rubric.messages(order.first, order.second, structured=True)
        characters = len(json.dumps(SCHEMA)) + sum(len(message["content"]) for message in messages)
        return math.ceil(characters / _CHARACTERS_A_TOKEN)

    def _record(self, usage: Usage, cost: float | None) -> None:
        self._store.record(self._model, self._address, usage, cost)


def _verdict(outcomes: Sequence[Outcome]) -> Verdict:
    if not outcomes:
        return Verdict((), reason="a description is empty")
    labels, reasons = [], []
    for outcome in outcomes:
        if isinstance(outcome, UnansweredError):
            return Verdict((), reason=str(outcome))
        if outcome.label is None:
            return Verdict((), reason=outcome.reason)
        labels.append(outcome.label)
        reasons.append(reason_in(outcome.said))
    return Verdict(tuple(labels), reason=" / ".join(dict.fromkeys(filter(None, reasons))))
