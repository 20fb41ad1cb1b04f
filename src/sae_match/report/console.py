"""What several rooms say in the terminal in the same words."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from sae_match.matching.settings import MatcherSettings
from sae_match.saes.two import Collections, TwoCollections
from sae_match.terminal import say


def print_rows(console: Console, title: str, rows: Mapping[str, str]) -> None:
    """A title, and lines with a name each."""
    say(console, (title, "bold"))
    for name, value in rows.items():
        say(console, f"  {name:<8} {value}")


def matcher_line(settings: MatcherSettings) -> str:
    """How features are matched, in a few words."""
    terms = ", ".join(name for name, weight in settings.terms.items() if weight > 0)
    return f"fold {settings.fold}, terms {terms}, {settings.metric}"


def collection_line(collection: Collections) -> str:
    """Where SAEs come from, in a few words: of one collection, or of two."""
    if isinstance(collection, TwoCollections):
        return " → ".join(collection.names)
    return short_name(collection.source)


def model_line(source: str | tuple[str, str]) -> str:
    """Which language model, in a few words, or which two."""
    return short_name(source) if isinstance(source, str) else " → ".join(map(short_name, source))


def short_name(source: str) -> str:
    """A repository's name, or the end of a folder's: enough to know it by, and nothing about a machine."""
    return "/".join(Path(source).parts[-2:])
