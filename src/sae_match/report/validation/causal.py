"""Whether partners follow when features are switched off: tables for the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from sae_match.evaluation.arm_names import COACTIVATION, MATCHED
from sae_match.evaluation.causal.findings import CausalFindings
from sae_match.evaluation.causal.measures import AGREEMENT, CARRIED, DIFFERENCE, DISAGREEMENT, TOP, UNDEFINED
from sae_match.evaluation.causal.sample import ARMS, NOT_SIGNIFICANT, SIGNIFICANT
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.evaluation.statistics.results import SpanResult
from sae_match.report.tables import distance_of, estimate_cell, plain_table
from sae_match.terminal import say

#: What classes of features are called.
CLASSES = {
    "": "all",
    SIGNIFICANT: "significant",
    NOT_SIGNIFICANT: "not significant",
    "cosine_from_0.7": "cosine from 0.7",
    "cosine_0.5_to_0.7": "0.5 to 0.7",
    "cosine_below_0.5": "below 0.5",
    "cheapest_third": "cheapest third",
    "middle_third": "middle third",
    "dearest_third": "dearest third",
}
_COLUMNS = {CARRIED: "carried activation", AGREEMENT: "effect agreement", TOP: "causal top 1"}


def of_class(metric: str, name: str) -> str:
    """What a metric of a class of features is called; of all where the class has no name."""
    return f"{metric}_{name}" if name else metric


def print_causal(console: Console, found: CausalFindings | None) -> None:
    """What partners do when features are switched off: by arm, then of matched pairs by class."""
    if found is None:
        return
    say(console, ("\nDoes switching a feature off switch off its partner?", "bold"))
    for span in sorted({row.span for row in found.spans}):
        for dataset in dict.fromkeys(row.dataset for row in found.spans if row.span == span):
            rows = [row for row in found.spans if (row.span, row.dataset) == (span, dataset)]
            say(console, (f"{dataset}, {distance_of(span)}: by partner (95 % over documents and features)", "italic"))
            table = plain_table("partner", *_COLUMNS.values(), "disagree")
            for arm in (*ARMS, COACTIVATION):
                cells = [_cell(rows, arm, metric) for metric in (*_COLUMNS, DISAGREEMENT)]
                if any(cell.plain != "-" for cell in cells):
                    table.add_row(arm.replace("_", " "), *cells)
            console.print(table)
            say(console, (f"{dataset}, {distance_of(span)}: of the matched partner, by class", "italic"))
            table = plain_table("pairs", *_COLUMNS.values(), "disagree")
            for name, called in CLASSES.items():
                cells = [_cell(rows, MATCHED, of_class(metric, name)) for metric in (*_COLUMNS, DISAGREEMENT)]
                if any(cell.plain != "-" for cell in cells):
                    table.add_row(called, *cells)
            more = [_cell(rows, MATCHED, f"{metric}{DIFFERENCE}") for metric in _COLUMNS]
            if any(cell.plain != "-" for cell in more):
                table.add_row("significant less others", *more, "")
            console.print(table)
            console.print(Padding(Text(undefined_line(rows)), (0, 0, 0, 2)))


def undefined_line(rows: Sequence[SpanResult]) -> str:
    """Of how many features there is no number, and why."""

    def share(metric: str) -> str:
        found = [row.value for row in rows if (row.arm, row.metric) == (MATCHED, f"{metric}{UNDEFINED}")]
        return f"{found[0]:.1%}" if found else "none"

    return (
        f"Left out: carried activation of {share(CARRIED)} of the features, whose partner is not active with them in "
        f"the documents looked at; agreement of {share(AGREEMENT)}, of which one changes nothing, or too few tokens; "
        f"top 1 of {share(TOP)}, which move nothing."
    )


def _cell(rows: Sequence[SpanResult], arm: str, metric: str) -> Text:
    for row in rows:
        if (row.arm, row.metric) == (arm, metric):
            return estimate_cell(Estimate(row.value, row.low, row.high))
    return Text("-")
