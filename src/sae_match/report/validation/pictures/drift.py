"""Drift of direction against drift of rate, feature by feature."""

from collections.abc import Iterator

from sae_match.evaluation.statistics.results import cells_of
from sae_match.report.drawing import BLUE, GREY, ORANGE, add_legend, panels, titled
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome
from sae_match.strings import in_a_line

_MOST_PANELS, _MOST_LABEL = 6, 24


def drift(outcome: Outcome) -> Iterator[Picture]:
    """How much each pair's direction turned against how much its rate changed; coloured by what the feature prefers."""
    chosen = [(pair, name) for pair, one in outcome.drifts.items() for name in one.rates][:_MOST_PANELS]
    if not chosen:
        return
    figure, drawn = panels(len(chosen), height=3.2, sharey=False)
    rows: list[dict[str, object]] = []
    for panel, (pair, dataset) in zip(drawn, chosen, strict=True):
        one = outcome.drifts[pair]
        rates = one.rates[dataset]
        turned = 1 - one.decoder_cosine
        shown = rates.enough & ~turned.isnan()
        groups = [("features", BLUE, shown)]
        if one.preferences:
            prefers = (one.preferences[0] + one.preferences[1]) > 0
            first, second = one.prefers
            own = f"fire more on {in_a_line(first, _MOST_LABEL)}\nthan on {in_a_line(second, _MOST_LABEL)}"
            groups = [(own, ORANGE, shown & prefers), ("the others", GREY, shown & ~prefers)]
        for label, colour, where in groups:
            x, y = turned[where].numpy(), rates.ratio[where].numpy()
            panel.scatter(x, y, s=6, color=colour, alpha=0.5, linewidths=0, label=label)
            for at in where.nonzero()[:, 0].tolist():
                row = {"source_feature": int(one.source[at]), "target_feature": int(one.target[at]), "group": label}
                place = {"source_layer": pair[0], "target_layer": pair[1], "dataset": dataset}
                rows.append({**place, **row, "turned": float(turned[at]), "log_rate_ratio": float(rates.ratio[at])})
        panel.axhline(0, color=GREY, linewidth=0.8)
        titled(panel, f"{pair[0]} → {pair[1]}, {dataset}")
        panel.set(xlabel="drift of direction (1 - cosine)", ylabel="drift of rate (natural log of the ratio)")
    add_legend(figure, drawn)
    numbers = [cells_of(row, named=False) for one in outcome.drifts.values() for row in one.results]
    yield Picture("drift", figure, rows, {"shares": numbers})
