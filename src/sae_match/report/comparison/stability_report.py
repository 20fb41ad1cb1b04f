"""Stability over seeds, as a picture, a table of features and lines for the terminal."""

import textwrap
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from rich.table import Table

from sae_match.evaluation.relations.stability import StablePart
from sae_match.report.comparison.stability import StableLayer
from sae_match.report.drawing import GREY, Point, add_legend, draw_line, look, panels, set_log
from sae_match.report.picture import Picture
from sae_match.report.tables import estimate_cell, plain_table

_BY = {"active": "tokens on which a feature is active", "norm": "folded norm of a feature's decoder row"}
_Row = dict[str, object]


def stability_picture(layers: Sequence[StableLayer]) -> Iterator[Picture]:
    """Share of the other dictionaries that have a feature, by fifths of its frequency and of its norm; none of none."""
    if not layers:
        return
    figure, drawn = panels(len(_BY), height=3.6)
    rows: list[_Row] = []
    for panel, (name, title) in zip(drawn, _BY.items(), strict=True):
        for number, layer in enumerate(layers):
            parts = layer.by(getattr(layer, name))
            rows += [_row(layer, name, fifth, part) for fifth, part in enumerate(parts, 1)]
            points = [Point(part.middle, part.share.value, part.share.low, part.share.high) for part in parts]
            if points:
                draw_line(panel, points, layer.name, (*look(number), "-"), 1.6)
        _draw_means(panel, layers, labelled=panel is drawn[0])
        set_log(panel, "x")
        panel.set(xlabel=f"{title}\n(median of each fifth of the features)", ylim=(0, 1.02))
    others = max(len(layer.others) for layer in layers)
    of = f"share of {others} other dictionaries of the layer in which a feature has a significant partner"
    drawn[0].set_ylabel(textwrap.fill(of, 36))
    add_legend(figure, drawn)
    yield Picture("stability", figure, rows)


def stability_table(layers: Sequence[StableLayer]) -> Table:
    """One line a layer: mean share of the others that have a feature, and shares of features in all and in none."""
    table = plain_table("dictionary", "others", "features", "share of the others", "in all", "in none")
    for layer in layers:
        found = layer.stability
        tested = found.seeds > 0
        in_all, in_none = (float(each[tested].double().mean()) for each in (found.in_all, found.in_none))
        features = f"{int(tested.sum()):,}"
        table.add_row(
            layer.name, str(len(layer.others)), features, estimate_cell(layer.mean), f"{in_all:.1%}", f"{in_none:.1%}"
        )
    return table


def _draw_means(panel: Axes, layers: Sequence[StableLayer], *, labelled: bool) -> None:
    for number, layer in enumerate(layers):
        label = "mean of all its features" if labelled and number == 0 else None
        colour = look(number)[0] if len(layers) > 1 else GREY
        panel.axhline(layer.mean.value, color=colour, linestyle=":", linewidth=1, label=label)


def _row(layer: StableLayer, by: str, fifth: int, part: StablePart) -> _Row:
    return {
        "source_layer": layer.layer,
        "source_collection": layer.source,
        "others": " ".join(layer.others),
        "by": by,
        "fifth": fifth,
        "from": part.low,
        "to": part.high,
        "features": part.features,
        "share": part.share.value,
        "low": part.share.low,
        "high": part.share.high,
    }
