"""Many ordered pairs, some at a time, each asked about once by all processes together."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import Literal

from sae_match.errors import UserError
from sae_match.semantics.judge.server.failures import StoppedError, UnansweredError
from sae_match.semantics.judge.server.reading import CUT_OFF, Reply
from sae_match.semantics.judge.server.store import OrderedPair, Store

log = logging.getLogger(__name__)

# Seconds until one looks again whether another process has an answer.
_POLL = 0.2
# Ordered pairs in a row that fail after all tries, that a server refuses at once, or whose answers say nothing, until
# something is wrong with more than these. Of one description that a server will not read there are several in a row.
_FAILED, _REFUSED, _SAID_NOTHING = 3, 20, 20
_KEPT = "all answers are kept, and the same command goes on from them"

Outcome = Reply | UnansweredError
Asked = tuple[Outcome, bool]


def ask_all(
    orders: Sequence[OrderedPair],
    ask: Callable[[OrderedPair, Event], Reply],
    store: Store,
    concurrency: int,
    told: Callable[[OrderedPair, Outcome, bool], None],
) -> None:
    """Ask what is not answered yet.

    Whatever ends it early, calls that are under way are waited for and what they bring is kept.

    Args:
        orders: Different ones.
        ask: Asks one; no further call should be made once the event is set.
        store: Where answers go at once, and where other processes' come from.
        concurrency: Ordered pairs that are asked about at the same time.
        told: In this thread, of each ordered pair, its outcome, and whether somebody else had asked about it.

    Raises:
        UserError: If `ask` or `told` does.
    """
    stop = Event()

    def one(order: OrderedPair) -> Asked | Literal["busy"]:
        if stop.is_set():
            return StoppedError(), False
        claimed = store.claim(order)
        if not isinstance(claimed, str):
            return claimed, True
        return "busy" if claimed == "busy" else (_asked(order, ask, store, stop), False)

    with store.alive(), ThreadPoolExecutor(concurrency, thread_name_prefix="judge") as pool:
        try:
            waiting, said = list(orders), False
            while waiting:
                futures = {pool.submit(one, order): order for order in waiting}
                waiting = []
                for future in as_completed(futures):
                    result = future.result()
                    if result == "busy":
                        waiting.append(futures[future])
                    elif not isinstance(result[0], StoppedError):
                        told(futures[future], *result)
                if waiting:
                    log.log(logging.DEBUG if said else logging.INFO, "another process asks %d too", len(waiting))
                    said = True
                    stop.wait(_POLL)
        except BaseException:
            log.info("stopping; calls under way are waited for, so that what they bring is kept")
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _asked(order: OrderedPair, ask: Callable[[OrderedPair, Event], Reply], store: Store, stop: Event) -> Outcome:
    """Ask about an ordered pair that is ours to ask about, and keep what the model said."""
    kept = False
    try:
        reply = ask(order, stop)
        if reply.label is not None or reply.refused:
            store.keep(order, reply)
            kept = True
        return reply
    except UnansweredError as error:
        if error.all:
            stop.set()
        return error
    except BaseException:
        # At once: until the main thread hears of it, another call would be made in vain.
        stop.set()
        raise
    finally:
        if not kept:
            store.release(order)


class Patience:
    """Tells an ordered pair that cannot be answered from a server or a model that cannot answer.

    Args:
        worked: Whether such ordered pairs have been answered before.
    """

    def __init__(self, *, worked: bool) -> None:
        self._worked = worked
        self._failed = self._refused = self._said_nothing = 0
        self._last: UnansweredError | None = None

    def hear(self, outcome: Outcome) -> None:
        """Learn how an ordered pair went.

        Raises:
            UserError: If there is no point in going on.
        """
        if isinstance(outcome, UnansweredError):
            self._last = outcome
            self._failed, self._refused = self._failed + (not outcome.refused), self._refused + outcome.refused
            if outcome.all or self._failed >= _FAILED or self._refused >= _REFUSED:
                raise UserError(f"{outcome}; {_KEPT}") from outcome
        elif outcome.label is None and not outcome.refused:
            self._said_nothing += 1
            if self._said_nothing >= _SAID_NOTHING:
                remedy = "" if outcome.reason.endswith(CUT_OFF) else ": choose another judge.model or judge.prompt"
                raise UserError(
                    f"{self._said_nothing} answers in a row have no label, the last one because of {outcome.reason}"
                    f"{remedy}; {_KEPT}"
                )
        else:
            self._worked = True
            self._failed = self._refused = self._said_nothing = 0

    def end(self) -> None:
        """Learn that all ordered pairs have been asked about.

        Raises:
            UserError: If none of them was answered, and some failed.
        """
        if self._last is not None and not self._worked:
            raise UserError(f"{self._last}; {_KEPT}") from self._last
