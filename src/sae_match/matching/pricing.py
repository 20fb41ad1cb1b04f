"""What a solution asks about all pairs: which have a small reduced cost. Two modules answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float64, Int64

Progress = Callable[[float], None]
"""Told the fraction of a pass that is done."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Pairs that a pass found below its threshold.

    Attributes:
        rows: Source feature of each.
        columns: Target feature of each.
        reduced: Reduced costs as computed, in units of the product of the two lengths.
        radius: How far, at most, each of them is from the truth.
    """

    rows: Int64[np.ndarray, " hits"]
    columns: Int64[np.ndarray, " hits"]
    reduced: Float64[np.ndarray, " hits"]
    radius: Float64[np.ndarray, " hits"]

    @classmethod
    def joined(cls, several: "list[Hits]") -> "Hits":
        """Hits of several passes over different pairs."""
        return cls(
            *(
                np.concatenate([np.empty(0, dtype=kind), *(getattr(hits, name) for hits in several)])
                for name, kind in (("rows", np.int64), ("columns", np.int64), ("reduced", float), ("radius", float))
            )
        )


class CrowdedError(Exception):
    """More pairs lie below a threshold than there is room for."""


class Pricer(Protocol):
    """Knows the cost of every pair well enough to find all with a small reduced cost `c - u - v`.

    Reduced costs are measured in units of the product of a pair's lengths: what is much for two
    short vectors is little for two long ones.

    Attributes:
        source_lengths: Unit of each source feature.
        target_lengths: Unit of each target feature.
        pairs_wanted: Pairs a source feature that a pass after the first should bring, so that few
            passes are needed: the more, the dearer they are.
    """

    pairs_wanted: int

    source_lengths: Float64[np.ndarray, " n_source"]
    target_lengths: Float64[np.ndarray, " n_target"]

    def sampled_quantile(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], pairs: int
    ) -> tuple[float, float]:
        """Where the smallest `pairs` reduced costs a source feature end, judged by a sample.

        Returns:
            That reduced cost, and how far, at most, a reduced cost near it is from the truth.
        """
        ...

    def scan(
        self,
        u: Float64[np.ndarray, " n_source"],
        v: Float64[np.ndarray, " n_target"],
        threshold: float,
        *,
        rows: Int64[np.ndarray, " some_rows"] | None = None,
        columns: Int64[np.ndarray, " some_columns"] | None = None,
        minima: bool = False,
        limit: int | None = None,
        progress: Progress = lambda _: None,
    ) -> Hits:
        """Every pair whose reduced cost is below a threshold.

        Some pairs above the threshold may be found as well; none below it is missed, rounding
        included.

        Args:
            u: Dual variables of the source features.
            v: Dual variables of the target features.
            threshold: In units of the product of a pair's lengths.
            rows: Source features to look at; all by default.
            columns: Target features to look at; all by default.
            minima: Also find, for each feature, its best pair within each of some groups of the
                other side.
            limit: Most pairs that may be found.
            progress: Told after each block.

        Raises:
            CrowdedError: If more than `limit` pairs are found.
        """
        ...


GROUPS = 16
"""Groups of the other side within which a first pass finds every feature's best pair."""


def group_size(n: int) -> int:
    """Features of a group."""
    return max(1, -(-n // GROUPS))
