"""A picture of a run, with the numbers that it shows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from sae_match.files import write_rows, written_whole
from sae_match.owned import MadeFiles
from sae_match.report.attempts import Attempts
from sae_match.report.drawing import lay_out
from sae_match.report.legible import make_legible
from sae_match.strings import refuse_no_name

_DPI = 150

#: What draws some pictures, by what it is called where it fails.
Drawings = Iterable[tuple[str, Callable[[], Iterator["Picture"]]]]


@dataclass(frozen=True)
class Picture:
    """What a question is answered with.

    Attributes:
        name: Of its files.
        figure: Drawn.
        rows: The numbers that it shows, all with the same columns.
        more: Further tables, by name.
    """

    name: str
    figure: Figure
    rows: Sequence[Mapping[str, object]]
    more: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Names of the files that it is saved as."""
        tables = [*([self.name] if self.rows else []), *(f"{self.name}_{name}" for name in self.more)]
        return [f"{self.name}.png", f"{self.name}.svg", *(f"{name}.csv" for name in tables)]

    def save(self, folder: Path) -> Path:
        """Write `NAME.png`, `NAME.svg`, `NAME.csv` and further tables as `NAME_TABLE.csv`; returns the PNG.

        Raises:
            UserError: If its name is none, or the folder cannot be written.
        """
        refuse_no_name(self.name, "picture", folder)
        png = folder / f"{self.name}.png"
        # Here, and for what is made while it is drawn: a dollar sign is one.
        make_legible(self.figure)
        lay_out(self.figure)
        with written_whole(png) as temporary, mpl.rc_context({"text.parse_math": False}):
            self.figure.savefig(temporary, dpi=_DPI)
        # Text stays text, and nothing changes from one drawing to the next.
        with (
            written_whole(png.with_suffix(".svg")) as temporary,
            mpl.rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "sae-match"}),
        ):
            self.figure.savefig(temporary, metadata={"Date": None})
        if self.rows:
            write_rows(png.with_suffix(".csv"), self.rows)
        for name, rows in self.more.items():
            write_rows(folder / f"{self.name}_{name}.csv", rows)
        return png


def save_pictures(drawings: Drawings, folder: Path, attempts: Attempts) -> list[Picture]:
    """Draw and save pictures; one that fails takes no other with it, and none is written over what no run has made.

    Returns those that are saved.

    Args:
        drawings: What draws them.
        folder: Where they are saved.
        attempts: Where those that fail are noted.

    Raises:
        UserError: If what runs have written there cannot be known.
    """
    saved, made = [], MadeFiles(folder)
    for name, draw in drawings:
        with attempts.of(f"picture {name}"):
            for picture in draw():
                with attempts.of(f"picture {picture.name}"):
                    made.begin(picture.files)
                    picture.save(folder)
                    made.end(picture.files)
                    saved.append(picture)
    return saved
