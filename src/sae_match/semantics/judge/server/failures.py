"""What goes wrong between us and a server: what to do about it, and how to say it."""

import random
from dataclasses import dataclass

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError

from sae_match.addresses import Key, without_users
from sae_match.errors import UserError
from sae_match.semantics.judge.server.reading import UnusableError, one_line
from sae_match.semantics.waiting import asked_wait, own_wait

Failure = APIStatusError | APIConnectionError | UnusableError

_ELSEWHERE = (301, 302, 303, 307, 308)
_AGAIN = (408, 409, 425, 429)
# Seconds that a server may ask us to wait.
_LONGEST_WAIT = 300.0
_SHOWN = 200
# A proxy that refuses to let one through is among them: it is met before the server.
_ON_THE_WAY = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


class UnansweredError(Exception):
    """An ordered pair got no answer.

    Args:
        reason: Why.
        all: Whether others would fare the same.
        refused: Whether the server refused this one at once, and there was no further try.
    """

    def __init__(self, reason: str, *, all: bool, refused: bool = False) -> None:
        super().__init__(reason)
        self.all, self.refused = all, refused


class StoppedError(UnansweredError):
    """An ordered pair was not asked about, or not again, because the run ends."""

    def __init__(self) -> None:
        super().__init__("stopped", all=False)


@dataclass(frozen=True)
class Counterpart:
    """Who is asked, for messages.

    Attributes:
        base_url: Of the server.
        model: Its model.
        key: What it is asked with; never shown, whoever repeats it.
    """

    base_url: str
    model: str
    key: Key

    def refuse_hopeless(self, error: Failure) -> None:
        """Stop where every further call would fail the same way.

        Raises:
            UserError: If the key is wrong, the model or the address does not exist, or the account is empty.
        """
        if not isinstance(error, APIStatusError):
            return
        status, where = error.status_code, f"{self.base_url} (judge.base_url)"
        if status in _ELSEWHERE:
            to = self._shown(without_users(error.response.headers.get("Location", "another address")))
            raise UserError(
                f"{where} sends its callers elsewhere ({status}), where nothing is sent that was not named: "
                f"to go there, name {to!r}"
            ) from error
        if status in (401, 403):
            raise UserError(
                f"{where} does not let you use {self.model} ({status}): {self.key.remedy('judge.key_variable')}"
            ) from error
        if status in (404, 405):
            raise UserError(
                f"{where} has no chat model {self.model} ({status}): check judge.model, and that the address ends as "
                "the server's documentation says, most often in /v1"
            ) from error
        if status == 402 or error.code == "insufficient_quota":
            account = self.key.variable or "it"
            raise UserError(
                f"{where}: the account behind {account} has no credit left ({status}); all answers are kept"
            ) from error

    def said(self, error: Failure) -> str:
        """What happened, in one line."""
        if isinstance(error, APITimeoutError):
            return f"{self.base_url} did not answer in time (judge.timeout)"
        if isinstance(error, APIConnectionError):
            cause = error.__cause__ or error
            return f"cannot reach {self.base_url}: {self._shown(str(cause)) or type(cause).__name__}"
        if isinstance(error, APIStatusError):
            detail = error.body.get("message") if isinstance(error.body, dict) else None
            return f"{self.base_url} answered {error.status_code}: {self._shown(str(detail or error.message))}"
        return f"{self.base_url} gave {self.key.withheld(str(error))}"

    def _shown(self, said: str) -> str:
        return one_line(self.key.withheld(said), _SHOWN)


def kind_of(error: Failure) -> str:
    """What failures have in common that differ in words alone, such as a time to wait or a request's number."""
    return str(error.status_code) if isinstance(error, APIStatusError) else type(error).__name__


def is_passing(error: Failure) -> bool:
    """Whether the same call may go well later."""
    return not isinstance(error, APIStatusError) or error.status_code in _AGAIN or error.status_code >= 500


def is_of_server(error: Failure) -> bool:
    """Whether a server says that it failed, and nothing of why."""
    return isinstance(error, APIStatusError) and error.status_code == 500


def concerns_all(error: Failure) -> bool:
    """Whether it lies with the server or the way to it, whatever it is asked about."""
    if isinstance(error, APIStatusError):
        return error.status_code == 429
    return isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError)


def may_be_charged(error: Failure) -> bool:
    """Whether the server may have done the work all the same."""
    if isinstance(error, APIConnectionError):
        return not never_arrived(error)
    return isinstance(error, UnusableError)


def never_arrived(error: APIConnectionError) -> bool:
    """Whether a call ended before the server heard of it."""
    return isinstance(error.__cause__, _ON_THE_WAY)


def seconds_until_next(error: Failure, tries: int, backoff: float) -> float:
    """How long to wait after so many tries: what the server asks for, else twice as long each time, at random.

    Raises:
        UserError: If the server asks for a long time.
    """
    step = own_wait(backoff, tries)
    asked = asked_wait(error.response.headers) if isinstance(error, APIStatusError) else None
    if asked is not None and asked > _LONGEST_WAIT:
        raise UserError(f"the server asks to wait {asked:.0f} s; all answers are kept, try again then") from error
    return step if asked is None else asked + random.uniform(0, 0.1) * step
