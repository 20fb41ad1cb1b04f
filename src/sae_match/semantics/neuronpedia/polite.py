"""Asking a server politely: paced, patient with trouble that passes, clear about trouble that does not."""

import logging
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import TypeVar

import httpx2

from sae_match.addresses import NO_KEY, Key, without_open_proxy
from sae_match.errors import UserError
from sae_match.network import usable_environment
from sae_match.semantics.neuronpedia.pace import Pace
from sae_match.semantics.settings import refuse_impossible_manners
from sae_match.semantics.waiting import asked_wait, own_wait

log = logging.getLogger(__name__)

Read = TypeVar("Read")

_PASSING = (408, 425, 429)
# An answer that trickles may take so many times the timeout in all.
_TRICKLE = 10
# Bytes of an answer; a file of explanations has a few million.
_LARGEST = 2**28


@dataclass(frozen=True)
class Manners:
    """How patiently a server is asked.

    Attributes:
        timeout: Seconds without a sign of life after which a question counts as unanswered.
        tries: How often a question is asked before it is given up.
        back_off: Seconds before the second try; each further wait is twice as long.
        longest_wait: Seconds that a server may ask us to wait; where it asks for more, we give up.
    """

    timeout: float = 60.0
    tries: int = 5
    back_off: float = 1.0
    longest_wait: float = 300.0

    def __post_init__(self) -> None:
        refuse_impossible_manners(self.timeout, self.tries, self.back_off)


class RefusedError(UserError):
    """The server has answered, and to ask again is of no use.

    Attributes:
        status: What it answered.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _PassingError(Exception):
    """What may be over soon.

    Attributes:
        wait: Seconds that the server asks to wait, if it does.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class PoliteClient:
    """Asks one server.

    Redirects are not followed: a key would go along to whatever server they name.

    Args:
        manners: How patiently.
        pace: What questions wait for, if anything.
        key: Sent with every question, and never shown where the server repeats it.

    Raises:
        UserError: If what the environment says of proxies and certificates cannot be used.
    """

    def __init__(self, manners: Manners, pace: Pace | None = None, key: Key = NO_KEY) -> None:
        self.manners, self.pace, self.key = manners, pace, key
        # Compressed files are wanted as they are, not unpacked on the way.
        ours = {"User-Agent": f"sae-match/{version('sae-match')}", "Accept-Encoding": "identity"}
        headers = {**ours, "x-api-key": key.value} if key.value else ours
        with usable_environment():
            self._client = httpx2.Client(timeout=manners.timeout, headers=headers, mounts=without_open_proxy(key))
        # Its connections end with it, not some time after.
        weakref.finalize(self, self._client.close)

    def get(self, address: str, read: Callable[[bytes], Read], absent: Collection[int] = (404,)) -> Read | None:
        """What `read` makes of the answer, None where there is nothing at that address.

        An answer that `read` refuses is asked for again, like one that is an error of the server: both may be
        over soon.

        Args:
            address: Whole address.
            read: Makes of the body of an answer what is wanted.
            absent: Statuses that say that there is nothing.

        Raises:
            RefusedError: If the server refuses.
            UserError: If no try brings a sound answer.
        """
        trouble: Exception | None = None
        for tried in range(self.manners.tries):
            if trouble is not None:
                self._wait(address, tried, trouble)
            if self.pace is not None:
                self.pace.wait()
            try:
                body = self._ask(address, absent)
                return None if body is None else read(body)
            except RefusedError:
                raise
            except (_PassingError, UserError) as error:
                trouble = error
        tries = f"{self.manners.tries} tries" if self.manners.tries > 1 else "1 try"
        if isinstance(trouble, UserError):
            raise UserError(f"{self.key.withheld(str(trouble))} (after {tries})") from trouble
        raise UserError(f"{address}: {trouble} (after {tries}); try again later") from trouble

    def _ask(self, address: str, absent: Collection[int]) -> bytes | None:
        end = time.monotonic() + _TRICKLE * self.manners.timeout
        try:
            with self._client.stream("GET", address) as response:
                status = response.status_code
                if status in absent:
                    return None
                self._refuse_unwanted(address, status, response.headers)
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > _LARGEST:
                        raise RefusedError(f"{address}: the answer is longer than {_LARGEST >> 20} MB", status)
                    if time.monotonic() > end:
                        raise _PassingError(f"no whole answer in {_TRICKLE * self.manners.timeout:g} s")
                return bytes(body)
        except httpx2.TimeoutException as error:
            raise _PassingError(f"no answer in {self.manners.timeout:g} s") from error
        except httpx2.TransportError as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise _PassingError(f"cannot be reached, {reason[0]}") from error
        except (httpx2.InvalidURL, httpx2.HTTPError) as error:
            raise RefusedError(f"{address} is no address to ask: {error}", 0) from error

    def _wait(self, address: str, tried: int, trouble: Exception) -> None:
        asked = trouble.wait if isinstance(trouble, _PassingError) else None
        if asked is not None and asked > self.manners.longest_wait:
            raise UserError(f"{address}: {trouble}; try again in {asked:.0f} s: what was answered is kept")
        seconds = max(own_wait(self.manners.back_off, tried), asked or 0.0)
        log.info("%s: %s; asking again in %.0f s", address, trouble, seconds)
        time.sleep(seconds)

    def _refuse_unwanted(self, address: str, status: int, headers: Mapping[str, str]) -> None:
        if status == 200:
            return
        name = HTTPStatus(status).phrase.lower() if status in set(HTTPStatus) else "an unknown status"
        if status in _PASSING or status >= 500:
            wait = asked_wait(headers)
            said = "too many requests" if status == 429 else f"the server is in trouble, {name}"
            raise _PassingError(f"{said} ({status})", wait)
        if 300 <= status < 400:
            where = self.key.withheld(headers.get("location", "it does not say where"))
            raise RefusedError(f"{address} is elsewhere now, {where}", status)
        raise RefusedError(f"{address}: the server refuses, {name} ({status})", status)
