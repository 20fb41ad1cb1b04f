"""Matchings of pairs of layers as CSV files and as tables for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from sae_match.evaluation.significance.findings import CUT, MEDIAN, Findings
from sae_match.evaluation.significance.measured import SIGNIFICANT, STOREY
from sae_match.evaluation.significance.over_features import share_over_features
from sae_match.files import write_rows
from sae_match.matching.composition import Agreement
from sae_match.matching.layers import Pair
from sae_match.matching.result import Matching
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import ALPHA
from sae_match.report.tables import plain_table

# Of the intervals' draws.
_SEED = 0
# Of the cosines of pairs.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_PARTS = ("encoder", "decoder")
_COLLECTIONS = ("source_collection", "target_collection")


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
        significant: Share of the features that took part whose pair is significant; none, as all that follows, where
            nothing was judged.
        significant_low, significant_high: Its 95 % interval over features.
        storey: Storey's estimate of the share that is truly matched.
        storey_low, storey_high: Its interval.
        cut: The smallest significant statistic, the mean of both cosines; none where no pair is.
        median_cosine: Median of the statistic.
        mutual_nearest: Share of the pairs that are each other's nearest.
        encoder_agreement, decoder_agreement, terms_agreement: Share of the pairs that encoders alone, decoders alone,
            or both find as well.
        source_collection, target_collection: What the two collections are called; empty, and no columns, of one.
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
    significant_low: float | None = None
    significant_high: float | None = None
    storey: float | None = None
    storey_low: float | None = None
    storey_high: float | None = None
    cut: float | None = None
    median_cosine: float | None = None
    mutual_nearest: float | None = None
    encoder_agreement: float | None = None
    decoder_agreement: float | None = None
    terms_agreement: float | None = None
    source_collection: str = ""
    target_collection: str = ""

    @classmethod
    def of(
        cls,
        pair: Pair,
        matching: Matching,
        judged: Judged | None = None,
        alpha: float = ALPHA,
        names: tuple[str, str] | None = None,
    ) -> "MatchingRow":
        """The row of a matching, and of what is known about its pairs; with the names of two collections."""
        pairs = int((matching.permutation >= 0).sum())
        took = {} if matching.evidence is None else asdict(matching.evidence)
        return cls(
            source_layer=pair[0],
            target_layer=pair[1],
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
            **({} if judged is None else _known(pair, judged, alpha)),
            source_collection="" if names is None else names[0],
            target_collection="" if names is None else names[1],
        )

    @property
    def layers(self) -> str:
        """The pair, for people."""
        return f"{self.source_layer} → {self.target_layer}"


def _known(pair: Pair, judged: Judged, alpha: float) -> dict[str, Any]:
    """What is known about the pairs of a judged matching, by column."""
    found = {row.metric: row for row in Findings.of({pair: judged}, None, alpha, _SEED).results}
    plain = (MEDIAN, "mutual_nearest", "encoder_agreement", "decoder_agreement", "terms_agreement")
    known: dict[str, Any] = {name: found[name].value for name in plain if name in found}
    known["cut"] = found[CUT].value if CUT in found else None
    for name, metric in (("significant", SIGNIFICANT), ("storey", STOREY)):
        row = found[metric]
        known |= {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
    return known


@dataclass(frozen=True)
class CompositionRow:
    """A chain of matchings between neighbours against the direct matching of its ends; see `Agreement`.

    Attributes:
        source_layer, target_layer: The ends.
        distance: Layers between them.
        agreement: Fraction of source features with the same partner in both.
        agreement_low, agreement_high: Its 95 % interval over features.
        cost_ratio: Cost of the chain's pairs over cost of the direct ones.
        features: Source features with a partner in both.
        significant: Share of the features whose chain is significant in every link; none where nothing was judged.
    """

    source_layer: int
    target_layer: int
    distance: int
    agreement: float
    agreement_low: float | None
    agreement_high: float | None
    cost_ratio: float
    features: int
    significant: float | None = None

    @classmethod
    def of(cls, pair: Pair, found: Agreement, significant: float | None = None) -> "CompositionRow":
        """The row of a comparison."""
        ends = share_over_features(found.agreement, found.features, "L{:02d}-L{:02d}".format(*pair), _SEED)
        return cls(
            *pair,
            distance=pair[1] - pair[0],
            agreement=found.agreement,
            agreement_low=ends.low,
            agreement_high=ends.high,
            cost_ratio=found.cost_ratio,
            features=found.features,
            significant=significant,
        )


def save_rows(rows: Sequence[MatchingRow] | Sequence[CompositionRow], path: Path) -> None:
    """Write as CSV; floats keep all their digits."""
    table = [asdict(row) for row in rows]
    named = any(row.get(name) for row in table for name in _COLLECTIONS)
    write_rows(path, [{key: row[key] for key in row if named or key not in _COLLECTIONS} for row in table])


def matching_table(rows: Sequence[MatchingRow]) -> Table:
    """One line a pair of layers."""
    table = plain_table("layers", "features", "pairs", "cost", "gap", "mean\npair cost", "solver", "rounds", "seconds")
    for row in rows:
        table.add_row(
            row.layers,
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


def significance_table(rows: Sequence[MatchingRow], alpha: float = ALPHA) -> Table:
    """One line a pair of layers that was judged: what share of the features is truly matched."""
    level = f"significant\nat {alpha:.0%}"
    beside = ("cosine\nfrom", "median\ncosine", "mutual\nnearest", "parts\nagree")
    table = plain_table("layers", level, "Storey's\nshare", *beside)
    for row in rows:
        if row.significant is not None:
            table.add_row(
                row.layers,
                _with_ends(row.significant, row.significant_low, row.significant_high),
                _with_ends(row.storey, row.storey_low, row.storey_high),
                _or_dash(row.cut, ".3f"),
                _or_dash(row.median_cosine, ".3f"),
                _or_dash(row.mutual_nearest, ".3f"),
                _or_dash(row.terms_agreement, ".3f"),
            )
    return table


def cosine_quantiles(pairs: pa.Table) -> list[float | None]:
    """Quantiles of the encoder's and of the decoder's cosine over the pairs of a table; none where there is none."""
    values = (pairs[f"{part}_cosine"].drop_null().to_numpy() for part in _PARTS)
    return [
        float(at) if len(value) else None
        for value in values
        for at in (np.quantile(value, _QUANTILES) if len(value) else _QUANTILES)
    ]


def cosine_table(quantiles: Mapping[str, Sequence[float | None]]) -> Table:
    """One line a pair of layers: `cosine_quantiles` of its pairs of features.

    Args:
        quantiles: By what the layers are called.
    """
    at = ["median" if share == 0.5 else f"{share:.0%}" for share in _QUANTILES]
    heads = (f"{'' if number else part}\n{share}" for part in _PARTS for number, share in enumerate(at))
    table = plain_table("layers", *heads)
    for layers, found in quantiles.items():
        table.add_row(layers, *(_or_dash(value, ".3f") for value in found))
    return table


def distance_table(rows: Sequence[MatchingRow], compared: Sequence[CompositionRow]) -> Table:
    """One line a distance: mean shares of significant pairs, matched directly and in every link of a chain."""
    table = plain_table("distance", "significant,\ndirect", "Storey's\nshare", "significant,\ncomposed")
    spans = {row.target_layer - row.source_layer for row in rows if row.significant is not None}
    for span in sorted(spans):
        at = [row for row in rows if row.target_layer - row.source_layer == span]
        chains = [row.significant for row in compared if row.distance == span]
        means = (_mean([row.significant for row in at]), _mean([row.storey for row in at]), _mean(chains))
        table.add_row(str(span), *(_or_dash(mean, ".3f") for mean in means))
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


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _with_ends(value: float | None, low: float | None, high: float | None) -> str:
    """A number with its interval, as far as there is one."""
    ends = "" if low is None or high is None else f" {low:.3f}…{high:.3f}"
    return f"{_or_dash(value, '.3f')}{ends}"


def _or_dash(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)
