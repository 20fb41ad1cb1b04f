"""Warnings about what significance says: that few features are matched, or that being significant means little."""

from collections.abc import Iterator

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.cautions import Caution
from sae_match.evaluation.significance.findings import Findings
from sae_match.evaluation.significance.measured import JACCARD, RATIO, SIGNIFICANT
from sae_match.evaluation.statistics.results import WEIGHTS, SpanResult

#: Co-activation of significant pairs over that of the others, and share of the features that are significantly
#: matched, below which a reader is warned.
LEAST_RATIO, LEAST_SHARE = 2.0, 0.5
_KEEP_TO = (
    "The other partners are the nearest that there were: keep to pairs whose significance is `significant` in "
    "pairs/*.parquet."
)


def doubts(findings: Findings) -> Iterator[Caution]:
    """What should make one wary of the matchings of the layers that are nearest to one another."""
    shortest = min((row.span for row in findings.spans), default=0)
    near = [row for row in findings.spans if row.span == shortest and row.arm == MATCHED]
    where = ", ".join(f"{source}→{target}" for source, target in findings.judged if target - source == shortest)
    for row in near:
        if row.metric == f"{JACCARD}_{RATIO}" and row.value < LEAST_RATIO:
            yield Caution(
                "significance_means_little",
                where,
                f"On {row.dataset} significant pairs are active together only {row.value:.2g} times as often as the "
                f"others{_interval(row)}.",
                "A ratio below 2 is a reason to doubt the significance itself: look at the pairs, and at the fifths of "
                "q in figures/coactivation_by_q.",
            )
    for row in near:
        if (row.metric, row.dataset) == (SIGNIFICANT, WEIGHTS) and row.value < LEAST_SHARE:
            yield Caution(
                "few_matched",
                where,
                f"Only {row.value:.0%} of the features have a partner that is better than chance{_interval(row)}.",
                _KEEP_TO if row.value > 0 else "There is nothing in this matching to go on with.",
            )


def _interval(row: SpanResult) -> str:
    return "" if row.low is None or row.high is None else f" (95 % interval {row.low:.2g} to {row.high:.2g})"
