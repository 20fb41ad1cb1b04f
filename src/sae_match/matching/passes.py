"""Passes over pairs: over all of them, or over the part about which nothing is proven any more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64

from sae_match.matching.pricing import CrowdedError, Hits, Pricer, Progress
from sae_match.matching.reference import Part, Reference

# Pairs a row, on average, that the first pass is to bring, and the most that any pass may.
_FIRST_PAIRS = 12
_MOST_PAIRS = 256
# Wider dictionaries have more near neighbours: up to so many times as many pairs, more would be memory's limit.
_USUAL_WIDTH, _GROWTH, _MOST_GROWTH = 16_384, 0.4, 1.75
# Share by which a threshold is raised above the quantile.
_ABOVE = 0.01
# Pairs that there is room for on every machine, however many of a row's they are.
_ROOM = 8_000_000
# A pass over a part of the pairs is worth its while up to this share of them.
_PART = 0.6


@dataclass(frozen=True, eq=False)
class Found:
    """What a pass brought.

    Attributes:
        hits: Pairs with a small reduced cost.
        threshold: All pairs whose reduced cost is below it, in units of their lengths, are among the
            hits of this pass or of those before.
        whole: Whether all pairs were looked at.
        priced: Pairs that were looked at.
    """

    hits: Hits
    threshold: float
    whole: bool
    priced: int


class Passes:
    """Passes of one problem; each leaves out what the last whole one still proves.

    Args:
        pricers: Make what knows the costs, the coarsest first; the next, finer one is made when more
            pairs are within the rounding error of contradicting the duals than there is room for.
    """

    def __init__(self, pricers: Sequence[Callable[[], Pricer]]) -> None:
        self._pricer, self._finer = pricers[0](), list(pricers[1:])
        self.row_lengths, self.column_lengths = self._pricer.source_lengths, self._pricer.target_lengths
        self._reference: Reference | None = None
        self._was_crowded = False

    def first(
        self, u: Float64[np.ndarray, " n_rows"], v: Float64[np.ndarray, " n_columns"], progress: Progress
    ) -> Found:
        """All pairs, under duals that are a guess: for each feature the best within groups as well."""
        return self._whole(u, v, progress, first=True)

    def next(
        self, u: Float64[np.ndarray, " n_rows"], v: Float64[np.ndarray, " n_columns"], progress: Progress
    ) -> Found:
        """All pairs that could contradict the duals."""
        part = None if self._reference is None else self._reference.unproven(u, v)
        if self._reference is None or part is None or part.share(len(u), len(v)) > _PART:
            return self._whole(u, v, progress, first=False)
        return self._over(part, self._reference.spare, u, v, progress)

    def _whole(
        self,
        u: Float64[np.ndarray, " n_rows"],
        v: Float64[np.ndarray, " n_columns"],
        progress: Progress,
        *,
        first: bool,
    ) -> Found:
        more = min(_MOST_GROWTH, max(1.0, (len(v) / _USUAL_WIDTH) ** _GROWTH))
        wanted = _FIRST_PAIRS if first else round(more * self._pricer.pairs_wanted)
        quantile, margin = self._pricer.sampled_quantile(u, v, wanted)
        crowded = not first and abs(quantile) < margin
        # A little above the quantile: pairs that tie there must not all be left out.
        threshold = quantile + _ABOVE * abs(quantile) - margin
        if crowded and self._was_crowded:
            # Once may be the duals; twice it is how close costs are. More pairs than usual, or finer ones.
            threshold = 0.0
        minima, limit, hits = first, _MOST_PAIRS * len(u), None
        while hits is None:
            try:
                hits = self._pricer.scan(u, v, threshold, minima=minima, limit=limit, progress=progress)
            except CrowdedError:
                if not first and self._finer:
                    self._refine()
                    return self._whole(u, v, progress, first=first)
                if not first and limit < _ROOM:
                    limit = _ROOM
                    continue
                # Ties without end: no pair of a group is better than the others.
                minima, threshold = False, threshold - max(2 * margin, abs(quantile), 1e-12)
        self._was_crowded = crowded
        # The first pass' guess is never near enough for what it proves to last.
        self._reference = (
            Reference(u, v, threshold, self.row_lengths, self.column_lengths) if threshold > 0 and not first else None
        )
        return Found(hits, threshold, whole=True, priced=len(u) * len(v))

    def _refine(self) -> None:
        """Go on with the next finer pricer."""
        del self._pricer
        self._pricer = self._finer.pop(0)()
        self._was_crowded = False

    def _over(
        self,
        part: Part,
        threshold: float,
        u: Float64[np.ndarray, " n_rows"],
        v: Float64[np.ndarray, " n_columns"],
        progress: Progress,
    ) -> Found:
        others = np.setdiff1d(np.arange(len(u)), part.rows)
        sizes = len(part.rows) * len(v), len(others) * len(part.columns)
        hits, done = [], 0
        for rows, columns, size in ((part.rows, None, sizes[0]), (others, part.columns, sizes[1])):
            if size:
                report = partial(_report_part, progress, done / sum(sizes), size / sum(sizes))
                hits.append(self._pricer.scan(u, v, threshold, rows=rows, columns=columns, progress=report))
                done += size
        progress(1.0)
        return Found(Hits.joined(hits), threshold, whole=False, priced=sum(sizes))


def _report_part(progress: Progress, before: float, share: float, done: float) -> None:
    progress(before + share * done)
