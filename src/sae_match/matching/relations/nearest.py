"""The nearest feature of the other side, for all features of both: exact, in blocks of float32 products.

A float32 product errs, by how much at most is proven. What is within twice that of the best of its row or column is
kept, and decided about by the float64 statistic. Few pairs are: features are further apart than float32 errs.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import blocks
from sae_match.matching.significance.settings import Statistic
from sae_match.matching.significance.statistic import compared, statistic_of_pairs
from sae_match.saes.sae import SAE
from sae_match.tensors import exact_product

# Rows and columns of a block of products, and rows that are made unit vectors at one time.
_BLOCK = (2048, 4096)
_ROWS = 4096
# Pairs that a block may leave for each of its rows and columns: where there are more, features are equal.
_MOST = 8
_FLOAT32 = 2.0**-24
# Below this, float64 products do not tell two statistics apart.
_EQUAL = 1e-12


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
) -> Nearest:
    """The nearest target feature of every source feature, and the other way round, in one pass over all pairs.

    Args:
        source: One side.
        target: The other side, on the same device.
        rows: Source features that take part; all have directions.
        columns: Target features that take part; all have directions.
        statistic: By which features are near.
    """
    i, j = rows.nonzero().flatten(), columns.nonzero().flatten()
    left, right = unit_directions(source, i, statistic), unit_directions(target, j, statistic)
    kept = _Kept(len(left), len(right), 2 * _error(left))
    for at in blocks(len(left), _BLOCK[0]):
        for beside in blocks(len(right), _BLOCK[1]):
            if not kept.add(exact_product(left[at], right[beside]), at, beside):
                # Of equal features there are more pairs than there is room for.
                doubles = (_doubles(source, i[at], statistic), _doubles(target, j[beside], statistic))
                kept.add_first(doubles[0] @ doubles[1].T, at, beside)
    del left, right
    some_rows, some_columns = kept.pairs()
    i, j = i[some_rows], j[some_columns]
    found = statistic_of_pairs(source, target, i, j, statistic)
    of_source, of_target = _best(i, j, found, len(rows)), _best(j, i, found, len(columns))
    return Nearest(of_source[0], of_target[0], of_source[1], of_target[1])


def best_of_rows(left: Float32[Tensor, "n width"], right: Float32[Tensor, "m width"]) -> Float64[Tensor, " n"]:
    """The largest inner product of each row with any row of the other side, as float32 has it."""
    return bests(left, right)[0]


def bests(
    left: Float32[Tensor, "n width"], right: Float32[Tensor, "m width"]
) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " m"]]:
    """The largest inner product of each row of either side with any row of the other, as float32 has it."""
    of_left, of_right = _lowest(len(left), left.device), _lowest(len(right), right.device)
    for at in blocks(len(left), _BLOCK[0]):
        for beside in blocks(len(right), _BLOCK[1]):
            products = exact_product(left[at], right[beside])
            of_left[at] = torch.maximum(of_left[at], products.amax(1))
            of_right[beside] = torch.maximum(of_right[beside], products.amax(0))
    return of_left.double().cpu(), of_right.double().cpu()


def unit_directions(sae: SAE, features: Int64[Tensor, " n"], statistic: Statistic) -> Float32[Tensor, "n width"]:
    """One vector a feature, such that a pair's statistic is the inner product; each entry right to float32.

    Args:
        sae: The dictionary.
        features: Of it; all have directions.
        statistic: Which statistic.
    """
    width = sum(part.shape[1] for part in compared(sae, statistic))
    units = torch.empty(len(features), width, dtype=torch.float32, device=sae.W_dec.device)
    for block in blocks(len(features), _ROWS):
        units[block] = _doubles(sae, features[block], statistic).float()
    return units


class _Kept:
    """Pairs that may be the best of their row or of their column, as blocks of products come in.

    Args:
        n_rows: Rows.
        n_columns: Columns.
        margin: How far below the best, as computed, the true best may be.
    """

    def __init__(self, n_rows: int, n_columns: int, margin: float) -> None:
        self._of_rows, self._of_columns = _lowest(n_rows), _lowest(n_columns)
        self._margin = margin
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, products: Float32[Tensor, "rows columns"], at: slice, beside: slice) -> bool:
        """Keep the pairs of a block; none, and false, where there are too many of them."""
        rows, columns = products.amax(1), products.amax(0)
        rows = torch.maximum(rows, self._of_rows[at].to(rows.device))
        columns = torch.maximum(columns, self._of_columns[beside].to(rows.device))
        near = (products >= (rows - self._margin)[:, None]) | (products >= columns - self._margin)
        i, j = near.nonzero(as_tuple=True)
        if len(i) > _MOST * sum(products.shape):
            return False
        self._of_rows[at], self._of_columns[beside] = rows.cpu(), columns.cpu()
        self._found.append(((i + at.start).cpu(), (j + beside.start).cpu(), products[i, j].cpu()))
        return True

    def add_first(self, products: Float64[Tensor, "rows columns"], at: slice, beside: slice) -> None:
        """Keep of a block, exact to float64, the first best of each row and of each column."""
        rows, columns = products.amax(1), products.amax(0)
        # Of booleans, the largest is the first that is true.
        first = (products >= rows[:, None] - _EQUAL).byte().argmax(1), (products >= columns - _EQUAL).byte().argmax(0)
        n, m = (torch.arange(size, device=products.device) for size in products.shape)
        i, j = torch.cat([n, first[1]]), torch.cat([first[0], m])
        self._of_rows[at] = torch.maximum(self._of_rows[at], rows.float().cpu())
        self._of_columns[beside] = torch.maximum(self._of_columns[beside], columns.float().cpu())
        self._found.append(((i + at.start).cpu(), (j + beside.start).cpu(), products[i, j].float().cpu()))

    def pairs(self) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
        """Those that are still within the margin of the best of their row or column."""
        i, j, value = (torch.cat(column) for column in zip(*self._found, strict=True))
        near = (value >= self._of_rows[i] - self._margin) | (value >= self._of_columns[j] - self._margin)
        return i[near], j[near]


def _best(
    own: Int64[Tensor, " pairs"], other: Int64[Tensor, " pairs"], statistic: Float64[Tensor, " pairs"], n: int
) -> tuple[Int64[Tensor, " n"], Float64[Tensor, " n"]]:
    """Of each feature's pairs the one with the highest statistic, the first of equal ones."""
    order = torch.from_numpy(np.lexsort((other.numpy(), -statistic.numpy(), own.numpy())))
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = own[order][1:] != own[order][:-1]
    chosen = order[first]
    partner, best = torch.full((n,), -1), torch.full((n,), math.nan, dtype=torch.float64)
    partner[own[chosen]], best[own[chosen]] = other[chosen], statistic[chosen]
    return partner, best


def _doubles(sae: SAE, features: Int64[Tensor, " n"], statistic: Statistic) -> Float64[Tensor, "n width"]:
    """One float64 vector a feature, such that a pair's statistic is the inner product."""
    parts = [rows[features.to(rows.device)].double() for rows in compared(sae, statistic)]
    return torch.cat([part / part.norm(dim=1, keepdim=True) for part in parts], 1) / math.sqrt(len(parts))


def _error(vectors: Float[Tensor, "n width"]) -> float:
    """How far, at most, a float32 product of two unit vectors, each rounded to float32, is from the truth."""
    # Tensor cores cut off where a processor rounds, and keep fewer guard bits.
    terms = (vectors.shape[1] + 4) * (4 if vectors.is_cuda else 1)
    return terms * _FLOAT32 / (1 - terms * _FLOAT32)


def _lowest(n: int, device: torch.device | None = None) -> Float32[Tensor, " n"]:
    return torch.full((n,), -math.inf, dtype=torch.float32, device=device)
