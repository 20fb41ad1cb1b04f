"""The nearest feature of the other side, for all features of both: exact, in blocks of low-precision products.

A product in low precision errs, by how much at most is proven. What is within that of the best of its row or column is
kept, and decided about in float64. Few pairs are: features are further apart than products err.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import blocks
from sae_match.matching.cost import FeatureVectors
from sae_match.matching.relations.directions import Copy, directions_of, precision_for, statistics
from sae_match.matching.relations.whitening import Whitening
from sae_match.matching.significance.settings import Statistic
from sae_match.saes.sae import SAE
from sae_match.tensors import exact_product

# Rows and columns of a block of products.
_BLOCK = (2048, 4096)
# Pairs that a block may leave for each of its rows and columns. Where there are more, a finer precision tells them
# apart; where it does not either, features are equal.
_MOST = 8
# Below this, float64 products do not tell two statistics apart.
_EQUAL = 1e-12
# Bytes that are looked at together.
_WORD = 8


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest feature of the other side, of each feature; of several equally near ones the first.

    Attributes:
        of_source: Nearest target feature; -1 of a source feature that takes no part.
        of_target: Nearest source feature; -1 of a target feature that takes no part.
        source_statistic: Statistic of each source feature and its nearest; nan where there is none.
        target_statistic: The same of target features.
    """

    of_source: Int64[Tensor, " n_source"]
    of_target: Int64[Tensor, " n_target"]
    source_statistic: Float64[Tensor, " n_source"]
    target_statistic: Float64[Tensor, " n_target"]


def nearest_of_both(
    source: SAE,
    target: SAE,
    rows: Bool[Tensor, " n_source"],
    columns: Bool[Tensor, " n_target"],
    statistic: Statistic,
    whitening: Whitening | None = None,
) -> Nearest:
    """The nearest target feature of every source feature, and the other way round, in one pass over all pairs.

    Args:
        source: One side.
        target: The other side, on the same device.
        rows: Source features that take part; all have directions.
        columns: Target features that take part; all have directions.
        statistic: By which features are near.
        whitening: What directions go through first; none leaves them as they are.
    """
    left, right = (directions_of(sae, part, statistic, whitening) for sae, part in ((source, rows), (target, columns)))
    i, j, found = near_pairs(left, right)
    i, j = rows.nonzero().flatten()[i], columns.nonzero().flatten()[j]
    of_source, of_target = best(i, j, found, len(rows)), best(j, i, found, len(columns))
    return Nearest(of_source[0], of_target[0], of_source[1], of_target[1])


def near_pairs(
    left: FeatureVectors,
    right: FeatureVectors,
    *,
    of_columns: bool = True,
    without: Int64[Tensor, " rows"] | None = None,
) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"], Float64[Tensor, " pairs"]]:
    """Pairs among which are the best of every row and every column, with their statistics.

    Args:
        left: Rows.
        right: Columns.
        of_columns: Whether the best of columns are wanted as well as those of rows.
        without: Of each row a column that counts for neither, or -1: the best but for a pair.
    """
    precision = precision_for(len(left), len(right), left.width, left.factors[0].device)
    copies = Copy.of(left, precision), Copy.of(right, precision)
    margin = copies[0].margin(copies[1])
    kept = _Kept(len(left), len(right), margin, precision, of_columns)
    for at in blocks(len(left), _BLOCK[0]):
        for beside in blocks(len(right), _BLOCK[1]):
            products = _but_for(without, exact_product(copies[0].rows[at], copies[1].rows[beside]), at, beside)
            if kept.add(products, at, beside, margin):
                continue
            finer = Copy.of(left, torch.float32, at), Copy.of(right, torch.float32, beside)
            products = _but_for(without, exact_product(finer[0].rows, finer[1].rows), at, beside)
            if not kept.add(products, at, beside, finer[0].margin(finer[1])):
                kept.add_first(_but_for(without, left.rows(at) @ right.rows(beside).T, at, beside), at, beside)
    i, j = kept.pairs()
    if without is not None:
        # Kept where there is nothing else.
        other = without[i] != j
        i, j = i[other], j[other]
    return i, j, statistics(left, right, i, j)


def best(
    own: Int64[Tensor, " pairs"], other: Int64[Tensor, " pairs"], statistic: Float64[Tensor, " pairs"], n: int
) -> tuple[Int64[Tensor, " n"], Float64[Tensor, " n"]]:
    """Of each feature's pairs the one with the highest statistic, the first of equal ones."""
    order = torch.from_numpy(np.lexsort((other.numpy(), -statistic.numpy(), own.numpy())))
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = own[order][1:] != own[order][:-1]
    chosen = order[first]
    partner, highest = torch.full((n,), -1), torch.full((n,), math.nan, dtype=torch.float64)
    partner[own[chosen]], highest[own[chosen]] = other[chosen], statistic[chosen]
    return partner, highest


class _Kept:
    """Pairs that may be the best of their row or of their column, as blocks of products come in.

    Args:
        n_rows: Rows.
        n_columns: Columns.
        margin: How far, at most, products are from the truth before they are rounded.
        precision: That they are rounded to.
        of_columns: Whether the best of columns are wanted.
    """

    def __init__(self, n_rows: int, n_columns: int, margin: float, precision: torch.dtype, of_columns: bool) -> None:
        self._of_rows, self._of_columns = _lowest(n_rows), _lowest(n_columns)
        self._margin, self._precision = margin, precision
        self._wants_columns = of_columns
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, products: Float[Tensor, "rows columns"], at: slice, beside: slice, margin: float) -> bool:
        """Keep the pairs of a block whose products are within a margin of the truth; none, and false, if too many."""
        rows, columns = products.amax(1).float(), products.amax(0).float()
        before = self._of_rows[at].to(rows.device), self._of_columns[beside].to(rows.device)
        near = _reaching(products, self._threshold(rows, before[0], margin, products.dtype)[:, None])
        if self._wants_columns:
            near |= _reaching(products, self._threshold(columns, before[1], margin, products.dtype))
        i, j = _true(near)
        if len(i) > _MOST * sum(products.shape):
            return False
        self._raise(at, beside, rows, columns)
        self._found.append(((i + at.start).cpu(), (j + beside.start).cpu(), products[i, j].float().cpu()))
        return True

    def add_first(self, products: Float64[Tensor, "rows columns"], at: slice, beside: slice) -> None:
        """Keep of a block, exact to float64, the first best of each row and of each column."""
        rows, columns = products.amax(1), products.amax(0)
        # Of zeros and ones, the largest is the first one.
        first = (products >= rows[:, None] - _EQUAL).byte().argmax(1), (products >= columns - _EQUAL).byte().argmax(0)
        n, m = (torch.arange(size, device=products.device) for size in products.shape)
        i, j = torch.cat([n, first[1]]), torch.cat([first[0], m])
        self._raise(at, beside, rows.float(), columns.float())
        self._found.append(((i + at.start).cpu(), (j + beside.start).cpu(), products[i, j].float().cpu()))

    def pairs(self) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
        """Those that are still within the margin of the best of their row or column."""
        i, j, value = (torch.cat(column) for column in zip(*self._found, strict=True))
        near = value >= _below(self._of_rows, self._margin, self._precision)[i]
        if self._wants_columns:
            near |= value >= _below(self._of_columns, self._margin, self._precision)[j]
        return i[near], j[near]

    def _raise(self, at: slice, beside: slice, rows: Float32[Tensor, " rows"], columns: Float32[Tensor, " m"]) -> None:
        self._of_rows[at] = torch.maximum(self._of_rows[at], rows.cpu())
        self._of_columns[beside] = torch.maximum(self._of_columns[beside], columns.cpu())

    def _threshold(
        self, here: Float32[Tensor, " n"], before: Float32[Tensor, " n"], margin: float, precision: torch.dtype
    ) -> Float[Tensor, " n"]:
        """What a product has to reach: near the best of this block, and near the best of all before."""
        reached = torch.maximum(_below(here, margin, precision), _below(before, self._margin, self._precision))
        # In the products' own precision, which is quicker to compare in; rounded down by the room that is in it.
        return reached.to(precision)


def _but_for(
    without: Int64[Tensor, " n"] | None, products: Float[Tensor, "rows columns"], at: slice, beside: slice
) -> Float[Tensor, "rows columns"]:
    """A block of products in which the pairs that do not count are below all others."""
    if without is not None:
        column = without[at] - beside.start
        row = ((column >= 0) & (column < products.shape[1])).nonzero().flatten()
        products[row.to(products.device), column[row].to(products.device)] = -math.inf
    return products


def _below(highest: Float32[Tensor, " n"], margin: float, precision: torch.dtype) -> Float32[Tensor, " n"]:
    """What the product of the true best is not below, if products err by a margin and are then rounded."""
    # Both products may be off, each by the margin and by one rounding; the threshold is rounded once more.
    unit = torch.finfo(precision).eps / 2
    return highest - 2 * margin - 4 * unit * (highest.abs() + 2 * margin)


def _reaching(products: Float[Tensor, "rows columns"], least: Float[Tensor, "..."]) -> Bool[Tensor, "rows columns"]:
    """Which products are at least as large as those of their rows, or of their columns, have to be."""
    if products.dtype == torch.bfloat16 and bool((least > 0).all()):
        # Positive numbers are in the order of their bits, and negative ones have a sign: whole numbers are compared
        # in a quarter of the time.
        return products.view(torch.int16) >= least.view(torch.int16)
    return products >= least


def _true(near: Bool[Tensor, "rows columns"]) -> tuple[Int64[Tensor, " some"], Int64[Tensor, " some"]]:
    """Where something is true: seldom, so that several entries are looked at together."""
    if near.shape[1] % _WORD:
        i, j = near.nonzero(as_tuple=True)
        return i, j
    flat = near.flatten()
    words = flat.view(torch.int64).nonzero().flatten()
    at = (words[:, None] * _WORD + torch.arange(_WORD, device=near.device)).flatten()
    at = at[flat[at]]
    return at // near.shape[1], at % near.shape[1]


def _lowest(n: int) -> Float32[Tensor, " n"]:
    return torch.full((n,), -math.inf, dtype=torch.float32)
