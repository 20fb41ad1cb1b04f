"""Addresses of servers, and which of them a key may go to."""

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sae_match.errors import UserError

#: What stands in a text for a key that was taken out of it.
WITHHELD = "[key]"
# What stands before the '@' of an address.
_USER = re.compile(r"(?<=://)[^/?#\s]*(?=@)")
# Shorter ones are found in any text by chance.
_SHORTEST_KEY = 6


def refuse_bad_address(setting: str, address: str, schemes: Sequence[str] = ("https", "http")) -> None:
    """Refuse what is no address of a server, and one with a name or a password in it.

    An address is printed, kept and logged, so that it can hold no secret.

    Args:
        setting: That it comes from, for the message.
        address: Such as `https://host:8000/v1`.
        schemes: What it may begin with.

    Raises:
        UserError: If it cannot be asked, or names a user.
    """
    like = f"{schemes[0]}://host/path"
    try:
        parts = urlsplit(address)
        sound = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise UserError(f"{setting} is no address, it must be like {like}: {error}") from error
    if "@" in parts.netloc:
        raise UserError(
            f"{setting} holds a name or a password: leave out what stands before the '@'; keys have variables"
        )
    if not sound:
        raise UserError(f"{address!r} is no address: {setting} must be like {like}")


def without_users(text: str) -> str:
    """A text in which no address has a name or a password any more."""
    return _USER.sub(WITHHELD, text)


def is_at(address: str, host: str) -> bool:
    """Whether an address is of a host or of one below it, such as `eu.api.openai.com`."""
    found = urlsplit(address).hostname or ""
    return found == host or found.endswith(f".{host}")


def is_here(address: str) -> bool:
    """Whether an address is of this machine."""
    host = urlsplit(address).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Key:
    """What a server is asked with, and where it comes from.

    Attributes:
        variable: Environment variable that holds it; none where no variable is meant for that server.
        value: Empty where there is none.
    """

    variable: str | None
    value: str = field(default="", repr=False)

    def remedy(self, setting: str) -> str:
        """What to do where a server lets one in with another key only.

        Args:
            setting: That names the variable.
        """
        if self.variable is None:
            return f"name the environment variable with a key for it in {setting}"
        return f"{self.variable} holds a key that it does not take" if self.value else f"set {self.variable}"

    def withheld(self, said: Any) -> Any:
        """What a server has said, but without the key that it was sent, in whatever strings it stands.

        Args:
            said: A JSON value: a text, or lists and dictionaries with texts in them.

        Raises:
            RecursionError: If it is nested too deep.
        """
        if len(self.value) < _SHORTEST_KEY:
            return said
        if isinstance(said, str):
            return said.replace(self.value, WITHHELD)
        if isinstance(said, dict):
            return {self.withheld(name): self.withheld(value) for name, value in said.items()}
        return [self.withheld(value) for value in said] if isinstance(said, list) else said


#: Of a server that is asked without one.
NO_KEY = Key(None)


def key_for(address: str, setting: str, variable: str | None) -> Key:
    """The key in an environment variable, to be sent to an address.

    Args:
        address: Where it would go.
        setting: That the address comes from.
        variable: Environment variable that holds it; none if none is meant for that address.

    Raises:
        UserError: If it can be no key, or would go over the network in the open.
    """
    key = Key(variable, "" if variable is None else os.environ.get(variable, "").strip())
    if not (key.value.isascii() and key.value.isprintable() and " " not in key.value):
        raise UserError(f"{variable} holds no key: there are spaces or characters other than ASCII's in it")
    if key.value and urlsplit(address).scheme == "http" and not is_here(address):
        raise UserError(
            f"{setting}={address} would send the key in {variable} in the open: take an https:// address, "
            "forward a port of this machine to the server, or unset the variable"
        )
    return key


def without_open_proxy(key: Key) -> dict[str, None] | None:
    """What a client mounts that sends a key: over plain http, which is for this machine only, it passes every proxy by.

    A proxy, which is most often on another machine, would be sent the key in the open.
    """
    return {"http://": None} if key.value else None
