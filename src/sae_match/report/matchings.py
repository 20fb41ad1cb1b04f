"""Matchings of pairs of layers as CSV files and as tables for the terminal."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from sae_match.files import write_rows
from sae_match.matching.composition import Agreement
from sae_match.matching.layers import Pair
from sae_match.matching.result import Matching
from sae_match.matching.significance.result import ALPHA, Significance
from sae_match.report.tables import plain_table


@dataclass(frozen=True)
class MatchingRow:
    """What is known about the matching of two layers.

    Attributes:
        source_layer, target_layer: The pair of layers.
        features: Source features.
        pairs: Those with a partner.
        cost: Sum of the pairs' costs.
        lower_bound: No one-to-one matching costs less.
        gap: `(cost - lower_bound) / |cost|`.
        mean_pair_cost: Cost of a pair; none where there are no pairs.
        solver, rounds, pairs_priced, seconds, peak_memory: What finding it took, in this run or, where
            it comes from the cache, in the one that found it; `peak_memory` in bytes.
        significant: Share of the features that took part whose pair has `q <= 0.05`; none where nothing was judged.
        storey: Storey's estimate of the share that is truly matched.
        cut: The smallest significant statistic, the mean of both cosines; none where no pair is.
    """

    source_layer: int
    target_layer: int
    features: int
    pairs: int
    cost: float
    lower_bound: float
    gap: float
    mean_pair_cost: float | None
    solver: str
    rounds: int | None
    pairs_priced: int | None
    seconds: float | None
    peak_memory: int | None
    significant: float | None = None
    storey: float | None = None
    cut: float | None = None

    @classmethod
    def of(cls, pair: Pair, matching: Matching, judged: Significance | None = None) -> "MatchingRow":
        """The row of a matching, and of what is known about its pairs."""
        cut = math.inf if judged is None else judged.cut(ALPHA)
        pairs = int((matching.permutation >= 0).sum())
        took = {} if matching.evidence is None else asdict(matching.evidence)
        return cls(
            *pair,
            features=len(matching.permutation),
            pairs=pairs,
            cost=matching.cost,
            lower_bound=matching.lower_bound,
            gap=matching.gap,
            mean_pair_cost=matching.cost / pairs if pairs else None,
            solver=matching.provenance.get("solver", ""),
            rounds=took.get("rounds"),
            pairs_priced=took.get("pairs_priced"),
            seconds=took.get("seconds"),
            peak_memory=took.get("peak_memory"),
            significant=None if judged is None else judged.share,
            storey=None if judged is None else judged.storey,
            cut=cut if math.isfinite(cut) else None,
        )


@dataclass(frozen=True)
class CompositionRow:
    """A chain of matchings between neighbours against the direct matching of its ends; see `Agreement`.

    Attributes:
        source_layer, target_layer: The ends.
        distance: Layers between them.
        agreement: Fraction of source features with the same partner in both.
        cost_ratio: Cost of the chain's pairs over cost of the direct ones.
        features: Source features with a partner in both.
    """

    source_layer: int
    target_layer: int
    distance: int
    agreement: float
    cost_ratio: float
    features: int

    @classmethod
    def of(cls, pair: Pair, found: Agreement) -> "CompositionRow":
        """The row of a comparison."""
        return cls(*pair, pair[1] - pair[0], found.agreement, found.cost_ratio, found.features)


def save_rows(rows: Sequence[MatchingRow] | Sequence[CompositionRow], path: Path) -> None:
    """Write as CSV; floats keep all their digits."""
    write_rows(path, map(asdict, rows))


def matching_table(rows: Sequence[MatchingRow]) -> Table:
    """One line a pair of layers."""
    table = plain_table("layers", "features", "pairs", "cost", "gap", "mean\npair cost", "solver", "rounds", "seconds")
    for row in rows:
        table.add_row(
            f"{row.source_layer} → {row.target_layer}",
            f"{row.features:,}",
            f"{row.pairs:,}",
            f"{row.cost:.6g}",
            f"{row.gap:.0e}",
            _or_dash(row.mean_pair_cost, ".4g"),
            row.solver,
            _or_dash(row.rounds, "d"),
            _or_dash(row.seconds, ".2f"),
        )
    return table


def significance_table(rows: Sequence[MatchingRow]) -> Table:
    """One line a pair of layers that was judged: what share of the features is truly matched."""
    table = plain_table("layers", "features", "significant\nat 5 %", "Storey's\nshare", "mean cosine\nfrom")
    for row in rows:
        if row.significant is not None:
            table.add_row(
                f"{row.source_layer} → {row.target_layer}",
                f"{row.features:,}",
                f"{row.significant:.3f}",
                _or_dash(row.storey, ".3f"),
                _or_dash(row.cut, ".3f"),
            )
    return table


def agreement_table(rows: Sequence[CompositionRow]) -> Table:
    """One line a distance: means over the pairs of layers that far apart, and the least agreement.

    Pairs of layers without a feature to compare are left out.
    """
    table = plain_table(
        "distance", "pairs of\nlayers", "features\ncompared", "agreement", "least\nagreement", "cost\nratio"
    )
    compared = [row for row in rows if row.features]
    for distance in sorted({row.distance for row in compared}):
        at = [row for row in compared if row.distance == distance]
        agreements = [row.agreement for row in at]
        table.add_row(
            str(distance),
            str(len(at)),
            f"{sum(row.features for row in at):,}",
            f"{sum(agreements) / len(at):.3f}",
            f"{min(agreements):.3f}",
            f"{sum(row.cost_ratio for row in at) / len(at):.3f}",
        )
    return table


def _or_dash(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)
