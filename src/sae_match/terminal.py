"""What programs print: strings of users and files as they are, on a terminal of any encoding."""

import codecs
import io
import logging
import os
import select
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from sae_match.strings import visible

#: Exit status where nobody reads on what a program prints, as after `| head`; what a shell reports then.
UNHEARD = 141

_PLAINLY = "sae_match.plainly"
# What stands for characters of ours where an encoding lacks them; others stand by their numbers.
_INSTEAD = {
    "→": "->",
    "…": "...",
    "\u2013": "-",
    "—": "-",
    "“": '"',
    "”": '"',
    "\u2018": "'",
    "\u2019": "'",
    "≥": ">=",
    "≤": "<=",
    "\u00d7": "x",
    "·": "-",
}
_INSTEAD |= dict.fromkeys("━╸╺─", "-") | dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*")

#: A text, or one with its style.
Part = str | tuple[str, str]


class Terminal(Console):
    """The console of every program: in what it is given nothing is markup, and nothing acts on the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def on_broken_pipe(self) -> None:
        """End the program, quietly."""
        raise SystemExit(unheard())

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders it, but that nothing of a text is a control."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def unheard() -> int:
    """Exit status of a program that nobody listens to any more; what it still prints goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        # A notebook's have no descriptor.
        with suppress(AttributeError, OSError, ValueError):
            if stream is not None and not is_heard(stream.fileno()):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return UNHEARD


def is_heard(descriptor: int) -> bool:
    """Whether somebody may still read what is written; a file and a terminal are read at any time."""
    watch = select.poll() if hasattr(select, "poll") else None
    if watch is None:
        return True
    watch.register(descriptor, select.POLLOUT)
    return not any(told & (select.POLLERR | select.POLLNVAL) for _, told in watch.poll(0))


def say(console: Console, *parts: Part) -> None:
    """Print a line, however long, of texts as they are, some of them styled.

    Args:
        console: Of either kind: also where rich reads markup, none is read here.
        parts: Of the line.
    """
    told = [visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts]
    console.print(Text.assemble(*told), soft_wrap=True)


def survive_any_encoding() -> None:
    """Let standard output and error write what their encoding lacks in other characters, rather than end the program.

    Log files are written in UTF-8. May be called again.
    """
    codecs.register_error(_PLAINLY, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAINLY)
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
            handler.stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        if not any(isinstance(one, _Visible) for one in handler.filters):
            handler.addFilter(_Visible())
        if type(handler) is logging.StreamHandler:
            _replace_by_ours(handler)


class _Heard(logging.StreamHandler[Any]):
    """Prints lines of the log while somebody reads them; a plain handler prints a trace for each that nobody does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line; end the program, quietly, where nobody reads any more."""
        try:
            self.stream.write(f"{self.format(record)}{self.terminator}")
            self.flush()
        except BrokenPipeError as error:
            raise SystemExit(unheard()) from error
        except (OSError, ValueError, TypeError, KeyError):
            # A line that cannot be printed, or does not fit what it is made of: said as by a plain handler, no more.
            self.handleError(record)


def _replace_by_ours(handler: "logging.StreamHandler[Any]") -> None:
    ours = _Heard(handler.stream)
    ours.setLevel(handler.level)
    ours.setFormatter(handler.formatter)
    ours.filters[:] = handler.filters
    root = logging.getLogger()
    root.addHandler(ours)
    root.removeHandler(handler)


class _Visible(logging.Filter):
    """Lets nothing in a log line act on what shows it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = visible(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = visible(logging.Formatter().formatException(record.exc_info))
        return True


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = (_INSTEAD.get(one) or one.encode("ascii", "backslashreplace").decode("ascii") for one in lacking)
    return "".join(plain), error.end
