"""One model behind a server that speaks OpenAI's protocol: an ordered pair in, an answer out, whatever lies between."""

import json
import logging
import weakref
from collections.abc import Mapping
from threading import Event, Lock
from typing import Any

from openai import APIConnectionError, APIStatusError

from sae_match.errors import UserError
from sae_match.semantics.judge.rubric import Rubric
from sae_match.semantics.judge.server.budget import Budget
from sae_match.semantics.judge.server.complaints import Complaints
from sae_match.semantics.judge.server.connection import connect, counterpart, missing_key
from sae_match.semantics.judge.server.dialect import Dialect
from sae_match.semantics.judge.server.failures import (
    Failure,
    StoppedError,
    UnansweredError,
    concerns_all,
    is_of_server,
    is_passing,
    kind_of,
    may_be_charged,
    seconds_until_next,
)
from sae_match.semantics.judge.server.reading import Reply, UnusableError, Usage, read_body, read_reply, read_usage
from sae_match.semantics.judge.settings import JudgeSettings

log = logging.getLogger(__name__)

# How often an ordered pair is asked about whose answer says nothing, each time with another seed.
_ASKED = 3
# Errors of a server in a row, none of which it has answered yet, after which the schema is left out.
_PUZZLED = 2
# Tokens around messages that no text shows.
_FRAME = 64


class Server:
    """Asks one model about ordered pairs; any number of threads may.

    Args:
        settings: Of the judge; with a model.
        budget: That every call is charged to.

    Raises:
        UserError: If OpenAI's own server is asked without a key, or the address or the key cannot be one.
    """

    def __init__(self, settings: JudgeSettings, budget: Budget) -> None:
        self._settings, self._budget = settings, budget
        self._counterpart = counterpart(settings)
        if (missing := missing_key(settings)) is not None:
            raise UserError(missing)
        self._client = connect(settings)
        # Its connections end with it, not some time after.
        weakref.finalize(self, self._client.close)
        self._complaints = Complaints()
        self._dialect, self._settled = Dialect(), False
        self._settling = Lock()

    def ask(self, rubric: Rubric, first: str, second: str, stop: Event) -> Reply:
        """What the model says of two descriptions in this order.

        Args:
            rubric: The prompt.
            first: Description that is given first.
            second: The other.
            stop: No further call is made once this is set.

        Raises:
            UserError: If no call can go well, or the spending limit is reached.
            UnansweredError: If this one did not, however often it was tried, or the run ends.
        """
        reply, dialect = Reply(None), self._dialect
        for turn in range(_ASKED):
            body, dialect = self._answered(rubric, first, second, self._settings.again * _ASKED + turn, stop, dialect)
            reply = body if isinstance(body, Reply) else read_reply(body)
            if reply.label is not None or reply.refused:
                self._settle(dialect)
                break
            # A server may take a schema and not follow it, and a model may answer with a closing line all the same.
            dialect = dialect.without_schema()
        return reply

    def _answered(
        self, rubric: Rubric, first: str, second: str, seed: int, stop: Event, dialect: Dialect
    ) -> tuple[Mapping[str, Any] | Reply, Dialect]:
        """The body of an answer, or a refusal, and the dialect that brought it; asked again after what may pass."""
        tries = 0
        while not stop.is_set():
            try:
                request = dialect.request(rubric, first, second, seed, self._settings.max_tokens)
                return self._called(request, stop), dialect
            except (APIStatusError, APIConnectionError, UnusableError) as error:
                if isinstance(error, APIStatusError):
                    if (other := dialect.without_what_is_refused(error)) is not None:
                        dialect = other
                        continue
                    if error.code == "content_filter":
                        refused = "refused: the server's filter let the question not pass"
                        return Reply(None, refused, refused=True), dialect
                self._counterpart.refuse_hopeless(error)
                tries += 1
                if tries >= _PUZZLED and is_of_server(error) and not self._settled:
                    # Some say no more than that where they stumble over the schema.
                    dialect = dialect.without_schema()
                self._wait(error, tries, stop)
        raise StoppedError

    def _wait(self, error: Failure, tries: int, stop: Event) -> None:
        """Wait for the next try.

        Raises:
            UnansweredError: If there is none.
        """
        said = self._counterpart.said(error)
        if not is_passing(error) or tries > self._settings.retries:
            times = f" ({tries} times)" if tries > 1 else ""
            raise UnansweredError(said + times, all=concerns_all(error), refused=not is_passing(error)) from error
        seconds = seconds_until_next(error, tries, self._settings.backoff)
        # A first failure alone is common where many calls are made at a time.
        with self._complaints.waiting(kind_of(error), f"{said}; trying again in {seconds:.1f} s", mild=tries == 1):
            if stop.wait(seconds):
                raise StoppedError from error

    def _settle(self, used: Dialect) -> None:
        """Go on with the first dialect that brings a label; what is refused in it later is refused for itself."""
        with self._settling:
            if not self._settled and used != self._dialect:
                log.info("%s: going on without %s", self._counterpart.base_url, used.lacks(self._dialect))
                self._dialect = used
            self._settled = True

    def _called(self, request: Mapping[str, Any], stop: Event) -> Mapping[str, Any]:
        """One call, charged to the budget."""
        most = Usage(_most_tokens(request), self._settings.max_tokens)
        aside = self._budget.reserve(most)
        # There may have been no room for it until now.
        if stop.is_set():
            self._budget.free(aside)
            raise StoppedError
        usage: Usage | None = None
        try:
            calls = self._client.chat.completions.with_raw_response
            answer = calls.create(model=self._counterpart.model, **request)
            # Until it is read, count the most: the work is done.
            usage = most
            body = read_body(answer.text, self._counterpart.key)
            usage = read_usage(body) or most
        except (APIStatusError, APIConnectionError) as error:
            usage = most if may_be_charged(error) else None
            if isinstance(error.__cause__, UnusableError):
                # It came, and no more of it was read.
                raise error.__cause__ from error
            raise
        finally:
            self._budget.settle(aside, usage)
        return body


def _most_tokens(request: Mapping[str, Any]) -> int:
    """Tokens of a request at most: no tokenizer of today makes more of a text than it has bytes."""
    return len(json.dumps(request, ensure_ascii=False).encode()) + _FRAME
