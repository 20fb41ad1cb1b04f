"""What programs print, on a terminal of any encoding; and that nothing prints in another way."""

import ast
import io
import logging
import re
import sys

import pytest
from rich.console import Console
from rich.table import Table

from sae_match.progress import CountingBars
from sae_match.terminal import Terminal, say, survive_any_encoding
from tests.conftest import ROOT
from tests.nasty import NASTY

SOURCE = ROOT / "src" / "sae_match"
MARKUP = re.compile(r"\[/?(bold|italic|dim|red|green|yellow|blue|cyan|link)\b[^\]]*\]")
# It draws bars, which read no markup, and is told nothing else.
BARS_ONLY = {"text/batches.py"}


def printed(console):
    return console.file.getvalue()


@pytest.mark.parametrize("kind", [Console, Terminal])
@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_line_is_printed_as_it_is(kind, text):
    console = kind(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    say(console, ("Files", "bold"), f" in {text}")
    assert not set(printed(console)) & set("\x1b\x07\x00\x9b\u202e\ud83d")
    for part in ("[/x] [red]", "$x_b_c$", "=HYPERLINK", "_hidden", "x" * 10_000, "{{title}} {0} %s ${oc"):
        assert (part in text) == (part in printed(console))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_table_shows_any_string(text):
    console = Terminal(file=io.StringIO(), width=20_000)
    table = Table(text, title=text)
    table.add_row(text)
    console.print(table)
    assert not set(printed(console)) & set("\x1b\x07\x00\x9b\u202e\ud83d")
    assert printed(console).count("[red]red[/red]") == (3 if "[red]" in text else 0)


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_bar_is_called_anything(text):
    bars = CountingBars(Terminal(file=io.StringIO(), force_terminal=True, width=80))
    with bars.progress:
        bars.watch(text, 1, 2)
        bars.note(text, f"{text} ")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_output_survives_any_encoding(monkeypatch, encoding):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    survive_any_encoding()
    say(Terminal(), "layers 3 → 4 … \u4e2d")
    streams["stdout"].flush()
    said = streams["stdout"].buffer.getvalue().decode(encoding)
    assert said.split()[:2] == ["layers", "3"]
    assert ("→" in said) == (encoding == "utf-8")
    assert ("->" in said) == (encoding != "utf-8")
    assert said.strip().endswith("\u4e2d" if encoding == "utf-8" else "\\u4e2d")


def test_a_log_line_does_nothing(tmp_path):
    handler = logging.FileHandler(tmp_path / "run.log", encoding="ascii")
    logging.getLogger().addHandler(handler)
    try:
        survive_any_encoding()
        survive_any_encoding()
        logging.getLogger("a").warning("%s → %s", *(NASTY[name] for name in ("controls", "surrogate")))
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    written = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "→" in written
    assert "\x1b" not in written


def offences(text):
    """Lines of a source file that print in a way of their own."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("Console", "from_markup", "render_markup"):
                found.append((node.lineno, called))
            if called == "print" and isinstance(node.func, ast.Attribute) and not all(map(is_plain, node.args)):
                found.append((node.lineno, "print of a made string"))
            if called == "TextColumn" and "task" in ast.dump(node) and "markup" not in {k.arg for k in node.keywords}:
                found.append((node.lineno, called))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MARKUP.search(node.value):
            found.append((node.lineno, "markup"))
    return found


def is_plain(argument):
    """Whether an argument of `console.print` is a literal, or made by something that makes no string of its own."""
    return isinstance(argument, ast.Constant | ast.Call | ast.Name) and not (
        isinstance(argument, ast.Call) and isinstance(argument.func, ast.Attribute) and argument.func.attr == "format"
    )


def test_nothing_prints_in_a_way_of_its_own():
    files = {file.relative_to(SOURCE).as_posix(): file for file in SOURCE.rglob("*.py")}
    found = {
        name: offences(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if name != "terminal.py" and name not in BARS_ONLY
    }
    # Of the bars of a training, which are called by numbers and words of ours.
    found.pop("training/progress.py")
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        'console.print(f"in {folder}")',
        'console.print("in " + folder)',
        "Console()",
        'x = "[bold]a[/bold]"',
        "Text.from_markup(a)",
        'TextColumn("{task.description}")',
        'self.console.print("{}".format(a))',
    ],
)
def test_the_check_can_fail(line):
    assert len(offences(line)) == 1


@pytest.fixture
def handler():
    """A handler of the log as Hydra makes one, in the place of all others."""
    root, stream = logging.getLogger(), io.StringIO()
    before, root.handlers[:] = list(root.handlers), [logging.StreamHandler(stream)]
    root.handlers[0].setFormatter(logging.Formatter("said: %(message)s"))
    survive_any_encoding()
    yield root.handlers[0], stream
    root.handlers[:] = before


def record(message, *told):
    return logging.LogRecord("sae_match", logging.WARNING, __file__, 1, message, told, None)


def test_lines_of_the_log_are_printed_as_before(handler):
    ours, stream = handler
    ours.handle(record("four %s", "layers"))
    assert stream.getvalue() == "said: four layers\n"
    survive_any_encoding()
    assert ours in logging.getLogger().handlers


def test_a_line_that_nobody_reads_ends_the_program_and_one_that_cannot_be_made_does_not(handler, monkeypatch, capsys):
    ours, stream = handler
    ours.emit(record("two names: %s %s", "one"))
    assert "not enough arguments" in capsys.readouterr().err

    def unread():
        raise BrokenPipeError

    monkeypatch.setattr(stream, "flush", unread)
    with pytest.raises(SystemExit, match="141"):
        ours.handle(record("unread"))
