"""Passes over pairs: over all of them, or over the part about which nothing is proven any more.

What a pass over all pairs has proven is kept (`Reference`). After the duals have moved on it still
holds for most pairs, and the next pass looks only at the others (`Part`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64, Int64

from sae_match.matching.solver.pricing import CrowdedError, Hits, Pricer, Progress
from sae_match.matching.tuning import TUNING, Tuning

# Share of a threshold that is kept: what is proven is then proven with room for rounding.
_SPARE = 0.01


@dataclass(frozen=True, eq=False)
class Part:
    """All pairs of some rows, and all pairs of some columns.

    Attributes:
        rows: Sorted.
        columns: Sorted.
    """

    rows: Int64[np.ndarray, " some_rows"]
    columns: Int64[np.ndarray, " some_columns"]

    def share(self, n_rows: int, n_columns: int) -> float:
        """Share of all pairs that it holds."""
        return 1 - (1 - len(self.rows) / n_rows) * (1 - len(self.columns) / n_columns)


@dataclass(frozen=True, eq=False)
class Reference:
    """A pass has found all pairs with `c < u + v + threshold * lengths`.

    Attributes:
        u: Row duals.
        v: Column duals.
        threshold: Positive.
        row_lengths: Unit of the threshold, together with the columns'.
        column_lengths: Unit of the threshold, together with the rows'.
    """

    u: Float64[np.ndarray, " n_rows"]
    v: Float64[np.ndarray, " n_columns"]
    threshold: float
    row_lengths: Float64[np.ndarray, " n_rows"]
    column_lengths: Float64[np.ndarray, " n_columns"]

    @property
    def spare(self) -> float:
        """What is left of the threshold of every pair outside of the part that `unproven` returns."""
        return _SPARE * self.threshold

    def unproven(self, u: Float64[np.ndarray, " n_rows"], v: Float64[np.ndarray, " n_columns"]) -> Part:
        """A small part outside of which every pair that contradicts other duals has been found.

        A pair that was not found may contradict them only if its row's dual and its column's have
        risen by more than the threshold together; `spare` of it is to be left. The columns that have
        risen most are taken whole, as many as make the part, with the rows that then remain, smallest.
        """
        rise_u, rise_v = u - self.u, v - self.v
        # A constant may move between the sides without changing anything.
        move = (np.median(rise_u) - np.median(rise_v)) / 2
        rows = _Rise(rise_u - move, self.row_lengths)
        columns = _Rise(rise_v + move, self.column_lengths)
        order = np.argsort(-columns.most_with(rows))
        best: Part | None = None
        for share in TUNING.part_shares:
            taken = int(np.ceil(share * len(v)))
            left = order[taken:]
            unproven = rows.most_with(columns.of(left)) > self.threshold - self.spare
            part = Part(np.flatnonzero(unproven), np.sort(order[:taken]))
            if best is None or part.share(len(u), len(v)) < best.share(len(u), len(v)):
                best = part
        assert best is not None
        return best


@dataclass(frozen=True, eq=False)
class _Rise:
    """How far the duals of one side have risen, beside the lengths of its vectors."""

    rise: Float64[np.ndarray, " n"]
    lengths: Float64[np.ndarray, " n"]

    def of(self, some: Int64[np.ndarray, " some"]) -> "_Rise":
        return _Rise(self.rise[some], self.lengths[some])

    def most_with(self, others: "_Rise") -> Float64[np.ndarray, " n"]:
        """Bound on the rise of any pair with one of the others, in units of the product of their lengths.

        That of a pair is `rise_i / l_i / l_j + rise_j / l_j / l_i`. The others are put together by
        length, and each group stands for its greatest `rise_j / l_j` and its extreme lengths.
        """
        own, per_length = self.rise / self.lengths, 1 / self.lengths
        if len(others.rise) == 0:
            return np.full(len(own), -np.inf)
        order = np.argsort(others.lengths)
        starts = np.unique(np.linspace(0, len(order), TUNING.length_groups, endpoint=False).astype(np.int64))
        inverse = 1 / others.lengths[order]
        greatest = np.maximum.reduceat(others.rise[order] * inverse, starts)
        longest, shortest = np.minimum.reduceat(inverse, starts), np.maximum.reduceat(inverse, starts)
        most = np.full(len(own), -np.inf)
        for rise, low, high in zip(greatest, longest, shortest, strict=True):
            np.maximum(most, np.where(own > 0, own * high, own * low) + rise * per_length, out=most)
        return most


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
        tuning: How many pairs a pass brings.
    """

    def __init__(self, pricers: Sequence[Callable[[], Pricer]], *, tuning: Tuning = TUNING) -> None:
        self._tuning = tuning
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
        if self._reference is None or part is None or part.share(len(u), len(v)) > self._tuning.largest_part:
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
        tuning = self._tuning
        more = min(tuning.most_growth, max(1.0, (len(v) / tuning.usual_width) ** tuning.growth))
        wanted = tuning.first_pairs if first else round(more * self._pricer.pairs_wanted)
        quantile, margin = self._pricer.sampled_quantile(u, v, wanted)
        crowded = not first and abs(quantile) < margin
        # A little above the quantile: pairs that tie there must not all be left out.
        threshold = quantile + tuning.above * abs(quantile) - margin
        if crowded and self._was_crowded:
            # Once may be the duals; twice it is how close costs are. More pairs than usual, or finer ones.
            threshold = 0.0
        minima, limit, hits = first, tuning.most_pairs * len(u), None
        while hits is None:
            try:
                hits = self._pricer.scan(u, v, threshold, minima=minima, limit=limit, progress=progress)
            except CrowdedError:
                if not first and self._finer:
                    self._refine()
                    return self._whole(u, v, progress, first=first)
                if not first and limit < tuning.room:
                    limit = tuning.room
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
