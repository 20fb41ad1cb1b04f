"""One model behind a server that speaks OpenAI's protocol: a question in, an answer out, whatever lies between."""

import json
import logging
import os
from collections.abc import Mapping
from threading import Event, Lock
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, OpenAI

from sae_match.errors import UserError
from sae_match.semantics.judge.budget import Budget
from sae_match.semantics.judge.dialect import Dialect
from sae_match.semantics.judge.failures import (
    Counterpart,
    Failure,
    StoppedError,
    UnansweredError,
    concerns_all,
    is_passing,
    may_be_charged,
    seconds_until_next,
)
from sae_match.semantics.judge.reading import Reply, UnusableError, Usage, read_body, read_reply, read_usage
from sae_match.semantics.judge.rubric import Rubric
from sae_match.semantics.judge.settings import JudgeSettings

log = logging.getLogger(__name__)

OFFICIAL = "https://api.openai.com/v1"
# How often a question is asked whose answer says nothing, each time with another seed.
_ASKED = 3
# Tokens around messages that no text shows.
_FRAME = 64


def address(settings: JudgeSettings) -> str:
    """Where the server is."""
    return (settings.base_url or os.environ.get("OPENAI_BASE_URL") or OFFICIAL).rstrip("/")


def refuse_no_address(given: str) -> None:
    """Check that an address is one.

    Raises:
        UserError: If it is not.
    """
    try:
        url = httpx2.URL(given)
    except httpx2.InvalidURL as error:
        raise UserError(f"judge.base_url is no address: {given!r} ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"judge.base_url must be like http://localhost:8000/v1, got {given!r}")


class Server:
    """Asks one model questions; any number of threads may.

    Args:
        settings: Of the judge; with a model.
        budget: That every call is charged to.

    Raises:
        UserError: If OpenAI's own server is asked without a key, or the address is none.
    """

    def __init__(self, settings: JudgeSettings, budget: Budget) -> None:
        self._settings, self._budget = settings, budget
        self._counterpart = Counterpart(address(settings), settings.model or "", settings.key_variable)
        key = os.environ.get(settings.key_variable, "").strip()
        if not key and self._counterpart.base_url == OFFICIAL:
            raise UserError(
                f"no key in {settings.key_variable}: put one there, or set judge.base_url to a server that needs none"
            )
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"{settings.key_variable} holds characters that no key has; set it anew")
        refuse_no_address(self._counterpart.base_url)
        # Retries are ours: theirs know of no budget. A server without keys takes any.
        self._client = OpenAI(
            api_key=key or "none", base_url=self._counterpart.base_url, max_retries=0, timeout=settings.timeout
        )
        self._dialect = Dialect()
        self._changing = Lock()

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
        reply = Reply(None)
        for turn in range(_ASKED):
            body = self._answered(rubric, first, second, self._settings.again * _ASKED + turn, stop)
            if isinstance(body, Reply):
                return body
            reply = read_reply(body)
            if reply.label is not None or reply.refused:
                break
        return reply

    def _answered(self, rubric: Rubric, first: str, second: str, seed: int, stop: Event) -> Mapping[str, Any] | Reply:
        """The body of an answer, or a refusal; tried again after failures that may pass."""
        tries = 0
        while not stop.is_set():
            dialect = self._dialect
            try:
                return self._called(dialect.request(rubric, first, second, seed, self._settings.max_tokens))
            except (APIStatusError, APIConnectionError, UnusableError) as error:
                self._counterpart.refuse_hopeless(error)
                if isinstance(error, APIStatusError):
                    if error.code == "content_filter":
                        return Reply(None, "refused: the server's filter let the question not pass", refused=True)
                    if self._gives_way(dialect, error):
                        continue
                tries += 1
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
            raise UnansweredError(said + times, all=concerns_all(error)) from error
        seconds = seconds_until_next(error, tries, self._settings.backoff)
        log.log(logging.INFO if tries > 1 else logging.DEBUG, "%s; trying again in %.1f s", said, seconds)
        if stop.wait(seconds):
            raise StoppedError from error

    def _gives_way(self, used: Dialect, error: APIStatusError) -> bool:
        """Whether to ask at once in another dialect, because of what the server objects to in one."""
        with self._changing:
            if self._dialect != used:
                # Another thread heard the same meanwhile.
                return True
            other = used.without_what_is_refused(error)
            if other is None:
                return False
            log.info("%s: going on without %s", self._counterpart.said(error), other.lacks(used))
            self._dialect = other
            return True

    def _called(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """One call, charged to the budget."""
        most = Usage(_most_tokens(request), self._settings.max_tokens)
        aside = self._budget.reserve(most)
        usage: Usage | None = None
        try:
            calls = self._client.chat.completions.with_raw_response
            answer = calls.create(model=self._counterpart.model, **request)
            # Until it is read, count the most: the work is done.
            usage = most
            body = read_body(answer.text)
            usage = read_usage(body) or most
        except (APIStatusError, APIConnectionError) as error:
            usage = most if may_be_charged(error) else None
            raise
        finally:
            self._budget.settle(aside, usage)
        return body


def _most_tokens(request: Mapping[str, Any]) -> int:
    """Tokens of a request at most: no tokenizer of today makes more of a text than it has bytes."""
    return len(json.dumps(request, ensure_ascii=False).encode()) + _FRAME
