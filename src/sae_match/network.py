"""What every client of a server has in common: it can fail before it asks anything, and then says why in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from sae_match.errors import UserError

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@contextmanager
def usable_environment() -> Iterator[None]:
    """Turn what keeps a client from being made in the block into a `UserError` that names the variable.

    Raises:
        UserError: If certificates are not where the environment says, or a proxy that it names cannot be used.
    """
    try:
        yield
    except UserError:
        raise
    except (OSError, ImportError, ValueError, httpx2.InvalidURL) as error:
        raise UserError(_trouble(error)) from error


def environment_trouble() -> str | None:
    """What keeps every client from being made; none where nothing does. Asks nobody."""
    try:
        with usable_environment():
            httpx2.Client().close()
    except UserError as error:
        return str(error)
    return None


def _trouble(error: Exception) -> str:
    """What is wrong, without the values of proxies: there may be passwords in them."""
    if isinstance(error, OSError):
        for name in _CERTIFICATES:
            if value := os.environ.get(name):
                reason = error.strerror or error.args[-1]
                return f"{name}={value} holds no certificates that can be read ({reason}): mend it, or unset it"
        return f"the certificates of this machine cannot be read: {error.strerror or error}"
    named = [name for proxy in _PROXIES for name in (proxy, proxy.lower()) if os.environ.get(name)]
    which = " or ".join(named) or "that the system names"
    if isinstance(error, ImportError):
        return (
            f"the proxy that the environment names cannot be used ({which}): a SOCKS proxy needs a package more, "
            "pip install socksio"
        )
    return f"the proxy that the environment names cannot be used ({which}): it must be like http://host:port"
