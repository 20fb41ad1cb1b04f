"""The way to a server: its address, the key, a client, and whether anybody is there."""

import os

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, DefaultHttpxClient, OpenAI

from sae_match.errors import UserError
from sae_match.network import usable_environment
from sae_match.semantics.judge.server.failures import Counterpart, never_arrived
from sae_match.semantics.judge.settings import JudgeSettings, address, address_setting, is_openais, key_of

# Seconds that a look at whether anybody is there may take.
_LOOK = 5.0


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
    hooks = {"request": [_without_openais_headers]} if ours else {}
    # Retries are ours: theirs know of no budget. A server without keys takes any.
    with usable_environment():
        return OpenAI(
            api_key=key_of(settings).value or "none",
            base_url=address(settings),
            max_retries=0,
            timeout=settings.timeout,
            http_client=DefaultHttpxClient(verify=secure, timeout=settings.timeout, event_hooks=hooks),
        )


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
