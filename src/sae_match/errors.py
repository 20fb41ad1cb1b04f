"""The error that a user can mend, and how it shows what others wrote: in one line."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


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


@contextmanager
def stopped_while(doing: Callable[[], str]) -> Iterator[None]:
    """Have what ends the block before its end, such as Ctrl-C, know where that was (`where_stopped`).

    Args:
        doing: Says what is being done, when it is asked; nothing where it is not known.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        # Whoever was nearest knows best.
        if not where_stopped(stop) and (said := doing()):
            stop.add_note(said)
        raise


def where_stopped(stop: BaseException) -> str:
    """What was being done when something ended a program, as an addition to a line; empty where nothing says it."""
    notes = [*getattr(stop, "__notes__", ()), *getattr(stop.__context__, "__notes__", ())]
    return f" while {notes[0]}" if notes else ""
