"""The way to a server: its address, the key, a client, and whether anybody is there."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, DefaultHttpxClient, OpenAI

from sae_match.addresses import without_open_proxy
from sae_match.errors import UserError
from sae_match.network import usable_environment
from sae_match.semantics.judge.server.failures import Counterpart, never_arrived
from sae_match.semantics.judge.server.reading import LONGEST, UnusableError
from sae_match.semantics.judge.settings import JudgeSettings, address, address_setting, is_openais, key_of

# Seconds that a look at whether anybody is there may take.
_LOOK = 5.0
# How many times larger than what was sent an answer can be, by how it is packed. No other way is asked for or read.
_UNPACKS = {"": 1, "identity": 1, "gzip": 1032, "deflate": 1032}


def counterpart(settings: JudgeSettings) -> Counterpart:
    """Who is asked."""
    return Counterpart(address(settings), settings.model or "", key_of(settings))


def missing_key(settings: JudgeSettings) -> str | None:
    """What to do about a key that is needed and not there; none where there is one or none is needed."""
    key = key_of(settings)
    if key.value or not is_openais(settings):
        return None
    return f"no key in {key.variable}: put one there, or set judge.base_url to a server that needs none"


def refuse_no_way(settings: JudgeSettings) -> None:
    """Check that an address is one, and that a key, if there is one, may be one and may go there.

    Raises:
        UserError: If not.
    """
    key_of(settings)
    try:
        httpx2.URL(address(settings))
    except httpx2.InvalidURL as error:
        raise UserError(f"{address_setting(settings)} is no address: {address(settings)!r} ({error})") from error


def connect(settings: JudgeSettings) -> OpenAI:
    """A client of the server; connects nothing yet.

    Raises:
        UserError: If the address or the key cannot be one, or what the environment says of proxies and certificates
            cannot be used.
    """
    refuse_no_way(settings)
    secure, ours = address(settings).startswith("https:"), not is_openais(settings)
    key = key_of(settings)
    hooks: dict[str, list[Callable[..., Any]]] = {
        "request": [_unpacked, *([_without_openais_headers] if ours else [])],
        "response": [_bounded],
    }
    # Retries are ours: theirs know of no budget. A server without keys takes any.
    with usable_environment():
        return OpenAI(
            api_key=key.value or "none",
            base_url=address(settings),
            max_retries=0,
            timeout=settings.timeout,
            http_client=DefaultHttpxClient(
                verify=secure,
                timeout=settings.timeout,
                event_hooks=hooks,
                mounts=without_open_proxy(key),
                # What is sent, other headers that hold secrets among it, is for the address that the user has named.
                follow_redirects=False,
            ),
        )


class _Bounded(httpx2.SyncByteStream):
    """What a server sends, up to so many bytes."""

    def __init__(self, sent: httpx2.SyncByteStream, most: int) -> None:
        self._sent, self._most = sent, most

    def __iter__(self) -> Iterator[bytes]:
        count = 0
        for some in self._sent:
            count += len(some)
            if count > self._most:
                raise UnusableError(f"an answer of more than {self._most:,} bytes")
            yield some

    def close(self) -> None:
        self._sent.close()


def _unpacked(request: httpx2.Request) -> None:
    """Ask for an answer as it is: what is packed may be a thousand times what was sent."""
    request.headers["Accept-Encoding"] = "identity"


def _bounded(response: httpx2.Response) -> None:
    """Have no more of an answer read than any answer has, whatever the server goes on sending.

    Raises:
        UnusableError: If it is packed in a way that was not asked for.
    """
    packed = response.headers.get("Content-Encoding", "").strip().lower()
    if packed not in _UNPACKS:
        raise UnusableError(f"an answer that is packed ({packed[:20]}), which was not asked for")
    assert isinstance(response.stream, httpx2.SyncByteStream)
    response.stream = _Bounded(response.stream, LONGEST // _UNPACKS[packed])


def _without_openais_headers(request: httpx2.Request) -> None:
    """Leave out what the client takes from variables that are meant for OpenAI: organization, project, own headers."""
    own = [line.partition(":")[0].strip() for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()]
    for name in ("OpenAI-Organization", "OpenAI-Project", *own):
        if name in request.headers:
            del request.headers[name]


def obstacle(settings: JudgeSettings) -> str | None:
    """What keeps every call from being made: no key, or no way to the address; none where nothing does.

    The look takes no model and costs nothing. Whatever the server answers, and however slowly, it is there.
    """
    if (missing := missing_key(settings)) is not None:
        return missing
    try:
        with connect(settings) as client:
            client.with_options(timeout=min(_LOOK, settings.timeout)).models.with_raw_response.list()
    except UserError as error:
        return str(error)
    except APIStatusError:
        return None
    except APIConnectionError as error:
        return _in_the_way(settings, error) if never_arrived(error) else None
    return None


def _in_the_way(settings: JudgeSettings, error: APIConnectionError) -> str:
    if isinstance(error, APITimeoutError):
        return f"cannot reach {address(settings)}: no connection within {min(_LOOK, settings.timeout):g} s"
    return counterpart(settings).said(error)
