import io

from rich.console import Console
from sae_match.text.progress import reading_shown


def printed(*, terminal, shown):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with reading_shown("web", 3, shown=shown, console=console) as advance:
        advance()
        advance()
    return console.file.getvalue()


def test_a_terminal_is_shown_how_many_are_taken():
    assert "reading web" in printed(terminal=True, shown=True)
    assert "2/3" in printed(terminal=True, shown=True)


def test_nothing_else_is_written_to():
    assert printed(terminal=False, shown=True).strip() == ""
    assert printed(terminal=True, shown=False) == ""
