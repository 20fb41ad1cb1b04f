"""A picture of a run, with the numbers that it shows."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from sae_match.files import written_whole

_DPI = 150


@dataclass(frozen=True)
class Picture:
    """What a question is answered with.

    Attributes:
        name: Of its files.
        figure: Drawn.
        rows: The numbers that it shows, all with the same columns, at least one.
    """

    name: str
    figure: Figure
    rows: Sequence[Mapping[str, object]]

    def save(self, folder: Path) -> Path:
        """Write `NAME.png`, `NAME.svg` and `NAME.csv`; returns the PNG. Floats keep all their digits."""
        png = folder / f"{self.name}.png"
        with written_whole(png) as temporary:
            self.figure.savefig(temporary, dpi=_DPI)
        # Text stays text, and nothing changes from one drawing to the next.
        with (
            written_whole(png.with_suffix(".svg")) as temporary,
            mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sae-match"}),
        ):
            self.figure.savefig(temporary, metadata={"Date": None})
        with (
            written_whole(png.with_suffix(".csv")) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return png
