"""Does folding bring matched features closer? Matching error by term, always in folded scale (Fig. 3)."""

from collections.abc import Iterator

from sae_match.evaluation.arm_names import ARMS, IDENTITY, MATCHED, MATCHED_UNFOLDED
from sae_match.matching.cost import Term
from sae_match.report.drawing import ARM_STYLES, Point, add_legend, draw_line, panels, set_log, set_ticks, titled
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome

_TERMS: tuple[Term, ...] = ("W_dec", "W_enc", "b_enc")
_TITLES = {"W_dec": "decoder rows (W_dec)", "W_enc": "encoder columns (W_enc)", "b_enc": "encoder biases (b_enc)"}
_LABELS = {IDENTITY: "vanilla (identity)", MATCHED_UNFOLDED: "matched unfolded", MATCHED: "matched"}


def folding_error(outcome: Outcome) -> Iterator[Picture]:
    """Mean squared difference of matched parameters by target layer. None without two arms to compare."""
    arms = [arm for arm in ARMS if arm in _LABELS and any(arm == found for _, found in outcome.errors)]
    if len(arms) < 2:
        return
    figure, drawn = panels(len(_TERMS), most=3, height=3.2, sharey=False)
    rows: list[dict[str, object]] = []
    for panel, term in zip(drawn, _TERMS, strict=True):
        for arm in arms:
            found = {pair: terms[term] for (pair, of), terms in sorted(outcome.errors.items()) if of == arm}
            points = [Point(target, value) for (_, target), value in found.items()]
            draw_line(panel, points, _LABELS[arm], ARM_STYLES[arm], 2.5 if arm == MATCHED else 1.2)
            set_ticks(panel, (point.at for point in points))
            rows += [
                {"source_layer": source, "target_layer": target, "arm": arm, "term": term, "mse": value}
                for (source, target), value in found.items()
            ]
        set_log(panel, "y")
        titled(panel, _TITLES[term])
        panel.set_xlabel("target layer")
    drawn[0].set_ylabel("mean squared difference\n(folded scale, lower is better)")
    add_legend(figure, drawn)
    yield Picture("folding_error", figure, rows)
