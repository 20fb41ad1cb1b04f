"""What fraction of the features is truly matched, and which: as tables for the terminal."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sae_match.evaluation.arm_names import COMPOSED, MATCHED
from sae_match.evaluation.passes.costs import several
from sae_match.evaluation.significance.findings import CUT, MEDIAN, Findings
from sae_match.evaluation.significance.measured import (
    JACCARD,
    OTHERS,
    PLAIN,
    PLAIN_CUT,
    RATIO,
    SIGNIFICANT,
    STOREY,
    TRUE,
)
from sae_match.evaluation.statistics.results import WEIGHTS, Result, SpanResult
from sae_match.report.tables import distance_of, plain_table, with_interval
from sae_match.terminal import say


def print_significance(console: Console, findings: Findings | None) -> None:
    """Shares by pair of layers and by distance, and what significant pairs do together that the others do not."""
    if findings is None:
        return
    say(console, ("\nWhat fraction of the features is truly matched, and which?", "bold"))
    for line in answers(findings):
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    say(console, ("\nBy pair of layers, with 95 % intervals over features", "italic"))
    console.print(layers_table(findings))
    if any(row.span for row in findings.spans):
        say(console, ("\nBy distance, as means over pairs of layers; composed: every link significant", "italic"))
        console.print(distance_table(findings))
    together = class_table(findings)
    if together.row_count:
        say(console, ("\nCo-activation (Jaccard) of pairs that are significant, and of the others", "italic"))
        console.print(together)


def answers(findings: Findings) -> Iterator[str]:
    """The answer in sentences, of the layers that are nearest to one another."""
    near = _nearest(findings)
    share, storey = _span(near, SIGNIFICANT), _span(near, STOREY)
    if share is None or storey is None:
        return
    what = "are found again in the other collection, by" if share.span == 0 else "have"
    random = next(iter(findings.judged.values())).significance.evidence.rotations
    far = distance_of(share.span)
    yield (
        f"{share.value:.1%} of the features ({_ends(share)}) {what} a partner that is better than chance at "
        f"{findings.alpha:.0%}, over {several(share.pairs, 'pair')} of {far}, by {random} random targets each; "
        f"Storey's estimate of all that are truly matched is {storey.value:.1%} ({_ends(storey)})."
    )
    if share.span == 0 and (plain := _span(near, PLAIN)) is not None:
        cut = f"a mean of encoder's and decoder's cosine of at least {PLAIN_CUT}"
        yield f"By a plain cut, {cut}, it would be {plain.value:.1%} ({_ends(plain)})."
    yield "Which: column `significance` of pairs/*.parquet, and report.html; files to go on with in significance/."


def layers_table(findings: Findings) -> Table:
    """One line a pair of layers: shares, the cut, and what stands beside them."""
    level = f"significant\nat {findings.alpha:.0%}"
    plain = ("cosine\nfrom", "median\ncosine", "mutual\nnearest", "parts\nagree")
    table = plain_table("layers", level, "Storey's\nshare", *plain)
    rows = [row for row in findings.results if (row.arm, row.dataset) == (MATCHED, WEIGHTS)]
    for pair, rows_of_pair in groupby(rows, key=lambda row: (row.source_layer, row.target_layer)):
        by_metric = {row.metric: row for row in rows_of_pair}
        names = (CUT, MEDIAN, "mutual_nearest", "terms_agreement")
        others = (f"{by_metric[name].value:.3f}" if name in by_metric else "-" for name in names)
        shares = (_told(by_metric.get(name)) for name in (SIGNIFICANT, STOREY))
        table.add_row(f"{pair[0]} → {pair[1]}", *shares, *others)
    return table


def distance_table(findings: Findings) -> Table:
    """One line a distance: share significant, matched directly and composed of neighbours."""
    level = f"significant at {findings.alpha:.0%}"
    table = plain_table("distance", f"direct,\n{level}", "direct,\nStorey's share", f"composed,\n{level}")
    for span in sorted({row.span for row in findings.spans}):
        rows = {(row.arm, row.metric): row for row in findings.spans if row.span == span and row.dataset == WEIGHTS}
        cells = ((MATCHED, SIGNIFICANT), (MATCHED, STOREY), (COMPOSED, SIGNIFICANT))
        table.add_row(str(span), *(_told(rows.get(cell)) for cell in cells))
    return table


def class_table(findings: Findings) -> Table:
    """One line a dataset: co-activation of significant pairs and of the others, and the ratio; nearest layers."""
    table = plain_table("dataset", "significant", "the others", "ratio")
    near = [row for row in _nearest(findings) if row.dataset != WEIGHTS]
    for dataset in dict.fromkeys(row.dataset for row in near):
        of = {row.metric: row for row in near if row.dataset == dataset}
        cells = [of.get(f"{JACCARD}_{name}") for name in (TRUE, OTHERS, RATIO)]
        if any(cells):
            table.add_row(dataset, *map(_told, cells))
    return table


def _nearest(findings: Findings) -> list[SpanResult]:
    shortest = min((row.span for row in findings.spans), default=0)
    return [row for row in findings.spans if row.span == shortest and row.arm == MATCHED]


def _span(rows: Iterable[SpanResult], metric: str) -> SpanResult | None:
    return next((row for row in rows if (row.metric, row.dataset) == (metric, WEIGHTS)), None)


def _told(row: Result | SpanResult | None) -> Text:
    """A number and its interval; a dash where there is none."""
    return Text("-") if row is None else with_interval(row)


def _ends(row: SpanResult) -> str:
    if row.low is None or row.high is None:
        return "no interval"
    return f"95 % interval over features {row.low:.1%} to {row.high:.1%}"
