"""The error that a user can mend, and how it shows what others wrote: in one line."""

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, in one line: what was found, where, and what would be right.

    The entry points print it without a traceback; library callers may catch it as a `ValueError`.
    """


def shown(value: object, most: int = 80) -> str:
    """A value as an error shows it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = f"a {type(value).__name__} of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}…"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names as an error lists them: the first ones, each in one line, or `none`."""
    given = list(names)
    readable = [name if name.isprintable() and len(name) <= 80 else shown(name) for name in given[:most]]
    return f"{', '.join(readable) or 'none'}{' …' if len(given) > most else ''}"


def reason_of(error: Exception) -> str:
    """What another library says of a failure, in one line; the failure's name where it says nothing."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    return text[0] if len(text[0]) <= 200 else f"{text[0][:200]}…"
