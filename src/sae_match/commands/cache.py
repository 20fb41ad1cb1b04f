"""Show what is kept between runs, and remove what is not wanted any more."""

import logging
from pathlib import Path

from rich.box import MARKDOWN
from rich.table import Table

from sae_match.commands.kept import KINDS, kept, remove
from sae_match.matching.cache import default_folder
from sae_match.settings.tools import CacheSettings
from sae_match.terminal import Terminal, say

log = logging.getLogger(__name__)


def main(settings: CacheSettings) -> None:
    """Print a table of what there is; remove what is asked for, after all names are known to be right."""
    matchings = default_folder() if settings.cache_dir is None else Path(settings.cache_dir).expanduser()
    # Whoever names the folder of matchings means what stands beside it too.
    folder, console = matchings.parent if matchings.name == "matchings" else matchings, Terminal()
    unwanted = [kept(folder, kind, settings.older_than) for kind in settings.remove]
    for one in unwanted:
        remove(one)
        log.info("removed %d files of %s, %s", len(one.files), one.kind, _size(one.bytes))
    table = Table(box=MARKDOWN)
    for heading in ("kind", "files", "size", "oldest"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for kind in KINDS:
        one = kept(folder, kind)
        table.add_row(kind, f"{len(one.files):,}", _size(one.bytes), f"{one.oldest:.0f} days" if one.files else "")
    say(console, str(folder))
    console.print(table)


def _size(number: int) -> str:
    return f"{number / 10**9:.2f} GB" if number >= 10**8 else f"{number / 10**6:.1f} MB"
