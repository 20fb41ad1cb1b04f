"""A picture of a run, with the numbers that it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from sae_match.files import write_rows, written_whole

_DPI = 150


@dataclass(frozen=True)
class Picture:
    """What a question is answered with.

    Attributes:
        name: Of its files.
        figure: Drawn.
        rows: The numbers that it shows, all with the same columns, at least one.
        more: Further tables, by name.
    """

    name: str
    figure: Figure
    rows: Sequence[Mapping[str, object]]
    more: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write `NAME.png`, `NAME.svg`, `NAME.csv` and further tables as `NAME_TABLE.csv`; returns the PNG."""
        png = folder / f"{self.name}.png"
        with written_whole(png) as temporary:
            self.figure.savefig(temporary, dpi=_DPI)
        # Text stays text, and nothing changes from one drawing to the next.
        with (
            written_whole(png.with_suffix(".svg")) as temporary,
            mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sae-match"}),
        ):
            self.figure.savefig(temporary, metadata={"Date": None})
        write_rows(png.with_suffix(".csv"), self.rows)
        for name, rows in self.more.items():
            write_rows(folder / f"{self.name}_{name}.csv", rows)
        return png
