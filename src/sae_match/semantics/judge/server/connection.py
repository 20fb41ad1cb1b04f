"""The way to a server: its address, the key, a client, and whether anybody is there."""

import os

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI

from sae_match.errors import UserError
from sae_match.semantics.judge.server.failures import Counterpart, never_arrived
from sae_match.semantics.judge.settings import JudgeSettings, address, is_openais

# Seconds that a look at whether anybody is there may take.
_LOOK = 5.0


def counterpart(settings: JudgeSettings) -> Counterpart:
    """Who is asked."""
    return Counterpart(address(settings), settings.model or "", settings.key_variable)


def missing_key(settings: JudgeSettings) -> str | None:
    """What to do about a key that is needed and not there; none where there is one or none is needed."""
    if _key(settings) or not is_openais(settings):
        return None
    return f"no key in {settings.key_variable}: put one there, or set judge.base_url to a server that needs none"


def refuse_no_way(settings: JudgeSettings) -> None:
    """Check that an address is one, and that a key, if there is one, may be one.

    Raises:
        UserError: If not.
    """
    key, given = _key(settings), address(settings)
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{settings.key_variable} holds characters that no key has; set it anew")
    try:
        url = httpx2.URL(given)
    except httpx2.InvalidURL as error:
        raise UserError(f"judge.base_url is no address: {given!r} ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"judge.base_url must be like http://localhost:8000/v1, got {given!r}")


def connect(settings: JudgeSettings) -> OpenAI:
    """A client of the server; connects nothing yet.

    Raises:
        UserError: If the address or the key cannot be one, or the proxy that the environment names cannot be used.
    """
    refuse_no_way(settings)
    try:
        # Retries are ours: theirs know of no budget. A server without keys takes any.
        return OpenAI(
            api_key=_key(settings) or "none", base_url=address(settings), max_retries=0, timeout=settings.timeout
        )
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        # Raised where the client reads HTTP_PROXY and its like: all else was looked at above.
        raise UserError(f"the proxy that the environment names cannot be used: {error}") from error


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


def _key(settings: JudgeSettings) -> str:
    return os.environ.get(settings.key_variable, "").strip()
