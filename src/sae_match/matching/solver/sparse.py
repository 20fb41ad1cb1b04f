"""One pass over all pairs in low precision that overlooks no pair it must not overlook.

The reduced cost of a pair, `c[i, j] - u[i] - v[j]`, is measured in units of the product of its
vectors' lengths. In these units it is twice a cosine of the two vectors, taken from a number that is
a sum of two products, one factor of each belonging to the source feature and one to the target
feature. All of that is one inner product of two slightly longer vectors, so a matrix product in low
precision yields reduced costs at once, and its sign bits say which pairs lie below a threshold. Low
precision errs; by how much at most is proven, and the threshold is raised by it.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import round_rows
from sae_match.matching.cost import UNIT, FeatureVectors
from sae_match.matching.solver.centre import Centred, about_centre, rounding_margin, unit_lengths
from sae_match.matching.solver.planning import EXTRA_ENTRIES, padded
from sae_match.matching.solver.pricing import CrowdedError, Hits, Progress, group_size
from sae_match.matching.tuning import TUNING, Tuning
from sae_match.tensors import exact_product

# Of a number split into three, products of the leading parts; what is left out is below rounding.
_SPLIT_PRODUCTS = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
_SIGN_BITS = {2: -0x7FFF7FFF7FFF8000, 4: -0x7FFFFFFF80000000, 8: -0x8000000000000000}


class SparsePricer:
    """Low-precision copies of two sides' vectors, and passes over all of their pairs.

    Args:
        source: Vectors of the side that is matched whole.
        target: Vectors of the other side, on the same device.
        precision: Of the copies: `bfloat16`, `float32` or `float64`. Products are summed in float32
            at least.
        block: Rows and columns of a block of reduced costs.
        tuning: Its other sizes.

    Attributes:
        source_lengths: What each source vector was divided by; see `unit_lengths`.
        target_lengths: The same of the target's.
        pairs_wanted: See `Pricer`.
    """

    def __init__(
        self,
        source: FeatureVectors,
        target: FeatureVectors,
        *,
        precision: torch.dtype,
        block: tuple[int, int],
        tuning: Tuning = TUNING,
    ) -> None:
        self.precision, self.block = precision, block
        self.pairs_wanted, self._tuning = tuning.sparse_pairs, tuning
        self.n_source, self.n_target, self.width = len(source), len(target), source.width
        left, right = about_centre(source, target)
        self._source_squares, self._target_squares = left.squares, right.squares
        self._source_units, self._target_units = unit_lengths(left, right)
        self.source_lengths = self._source_units.cpu().numpy()
        self.target_lengths = self._target_units.cpu().numpy()
        self._x, source_error = self._copy(left, self._source_units, 1.0)
        self._y, target_error = self._copy(right, self._target_units, -2.0)
        self._product = torch.empty(0, dtype=precision, device=left.squares.device)
        # |a.b - x.y| <= |a - x| |b| + |x| |b - y|, and neither a nor b is longer than one here.
        self._copy_error = 2 * (source_error + target_error * (1 + source_error)) * (1 + 1e-6)
        self._copy_error += self._float64_error(left, right)

    def sampled_quantile(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], pairs: int
    ) -> tuple[float, float]:
        """See `Pricer`."""
        shift, margin = self._set_duals(u, v, 0.0)
        generator = torch.Generator().manual_seed(0)
        sample = torch.randperm(self.n_source, generator=generator)[: self._tuning.sampled_rows].to(self._x.device)
        reduced = exact_product(self._x[sample], self._y)[:, : self.n_target].flatten()
        rank = min(max(1, round(pairs * len(sample))), len(reduced))
        reduced = reduced if reduced.dtype == torch.float64 else reduced.float()
        return float(reduced.kthvalue(rank).values) + shift, margin

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
        """See `Pricer`."""
        shift, margin = self._set_duals(u, v, threshold)
        y = self._y if columns is None else self._y[_index(_repeated_to_alignment(columns), self._y)]
        n_rows = self.n_source if rows is None else len(rows)
        n_columns = self.n_target if columns is None else len(columns)
        height, width = self.block
        every = self._blocks_of_group()
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        count = 0
        for top in range(0, n_rows, height):
            bottom = min(top + height, n_rows)
            # Nearly all rows may be wanted: taken out at once, they would be another copy of the side.
            x = self._x[top:bottom] if rows is None else self._x[_index(rows[top:bottom], self._x)]
            for left in range(0, n_columns, width):
                # Of a group in several blocks one block stands for all.
                best = minima and left // width % every[1] == 0, minima and top // height % every[0] == 0
                i, j, below = self._hits_of_block(x, y[left : left + width], n_columns - left, best)
                found.append((i + top, j + left, below))
                count += len(i)
                if limit is not None and count > limit:
                    raise CrowdedError(f"more than {limit} pairs")
                done = top * n_columns + min(left + width, n_columns) * (bottom - top)
                progress(done / (n_rows * n_columns))
        i, j, below = (torch.cat(column).cpu() for column in zip(*found, strict=True))
        below = below.double()
        return Hits(
            rows=i.numpy() if rows is None else rows[i.numpy()],
            columns=j.numpy() if columns is None else columns[j.numpy()],
            reduced=(below + shift).numpy(),
            radius=(margin + _unit(self.precision) * below.abs()).numpy(),
        )

    def _hits_of_block(
        self,
        x: Float[Tensor, "rows padded"],
        y: Float[Tensor, "columns padded"],
        n_columns: int,
        best: tuple[bool, bool],
    ) -> tuple[Int64[Tensor, " hits"], Int64[Tensor, " hits"], Float32[Tensor, " hits"] | Float64[Tensor, " hits"]]:
        # Always the same memory: a block is large enough for the system to take it back in between.
        if len(self._product) < len(x) * len(y):
            self._product = torch.empty(len(x) * len(y), dtype=self.precision, device=x.device)
        below = self._product[: len(x) * len(y)].view(len(x), len(y))
        exact_product(x, y, out=below)
        if any(best):
            # What stands for no column is nobody's best.
            below[:, n_columns:] = torch.inf
            groups = group_size(self.n_source), group_size(self.n_target)
            at = _below_zero_or_least(below, groups, best).flatten().nonzero().flatten()
        else:
            at = _negative(below)
        i, j = at // below.shape[1], at % below.shape[1]
        real = j < n_columns
        i, j, at = i[real], j[real], at[real]
        values = below.flatten()[at]
        return i, j, values if values.dtype == torch.float64 else values.float()

    def _blocks_of_group(self) -> tuple[int, int]:
        """Blocks, downwards and to the right, that a group of rows and one of columns takes."""
        groups = group_size(self.n_source), group_size(self.n_target)
        down, right = (max(1, group // size) for group, size in zip(groups, self.block, strict=True))
        return down, right

    def _copy(
        self,
        side: Centred,
        lengths: Float64[Tensor, " n"],
        factor: float,
    ) -> tuple[Float[Tensor, "padded_n padded_width"], float]:
        """Rounded unit vectors, with room for the duals' entries, and the longest rounding error."""
        copy = torch.zeros(
            padded(len(side)), padded(self.width + EXTRA_ENTRIES), dtype=self.precision, device=lengths.device
        )
        moved, left = torch.zeros_like(lengths), 0
        vectors = side.vectors
        for part, own, point in zip(vectors.parts, vectors.factors, side.centre.split(vectors.widths), strict=True):
            out = copy[: len(side), left : left + part.shape[1]]
            moved += round_rows(part, own, point, lengths, scale=factor, out=out)
            left += part.shape[1]
        longest = float(moved.max().sqrt())
        return copy, longest + UNIT * 8

    def _set_duals(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], threshold: float
    ) -> tuple[float, float]:
        """Write into the copies what makes their products reduced costs less the raised threshold.

        Returns:
            What was taken off the reduced costs, and a bound on the error of a product.
        """
        rows, columns = self._source_units, self._target_units
        scale = columns.mean()
        u_there, v_there = _index(u, self._x), _index(v, self._y)
        a, b = (self._source_squares - u_there) / rows, (self._target_squares - v_there) / columns
        # A constant may move from one side to the other; small numbers round least.
        move = ((a * rows).mean() - (b * columns).mean()) / 2
        a, b = a - move / rows, b + move / columns
        products = ((a / scale, scale / columns), (scale / rows, b / scale))
        size = sum(float(left.abs().max() * right.abs().max()) for left, right in products)
        margin = self._margin(size, threshold) + self._cancelling_error(u_there, v_there)
        column = self.width
        for left, right in products:
            left_parts, right_parts = self._split(left), self._split(right)
            for p, q in _SPLIT_PRODUCTS:
                self._x[: self.n_source, column] = left_parts[p]
                self._y[: self.n_target, column] = right_parts[q]
                column += 1
        shift = _rounded_up(threshold + margin, self.precision)
        self._x[:, column] = 1
        self._y[:, column] = -shift
        return shift, margin

    def _cancelling_error(self, u: Float64[Tensor, " n_source"], v: Float64[Tensor, " n_target"]) -> float:
        """What is large in squares and duals and cancels has been rounded before it does."""
        rows, columns = self._source_units, self._target_units
        lost = float(((self._source_squares + u.abs()) / rows).max() / columns.min())
        lost += float(((self._target_squares + v.abs()) / columns).max() / rows.min())
        return 4 * UNIT * lost

    def _margin(self, size: float, threshold: float) -> float:
        terms = self._x.shape[1] + 2
        summing = {torch.float64: UNIT}.get(self.precision, 2.0**-24)
        # Tensor cores cut off where a processor rounds, and keep fewer guard bits.
        summing *= 4 if self._x.is_cuda else 1
        gamma = terms * summing / (1 - terms * summing)
        splitting = splitting_error(self.precision)
        magnitude = 2 * (1 + self._copy_error) ** 2 + 1.02 * size + 1.01 * abs(threshold) + self._copy_error
        return (self._copy_error + splitting * size + gamma * magnitude) * (1 + 1e-3) + 1e-30

    def _float64_error(self, left: Centred, right: Centred) -> float:
        """What float64 made of the squared lengths and of the vectors before they were rounded."""
        return float(rounding_margin(left, right).max() / (self._source_units.min() * self._target_units.min()))

    def _split(self, numbers: Float64[Tensor, " n"]) -> list[Float[Tensor, " n"]]:
        parts, left = [], numbers
        for _ in range(3):
            parts.append(left.to(self.precision))
            left = left - parts[-1].double()
        return parts


def splitting_error(precision: torch.dtype) -> float:
    """How far, at most and relatively, the products of the split parts of two numbers are from their product.

    Each number is off by a unit cubed of its size, and products of parts whose places add up to three or more are left
    out; 16 float64 roundings go with it.
    """
    return 8 * _unit(precision) ** 3 + 16 * UNIT


def _negative(block: Float[Tensor, "rows columns"]) -> Int64[Tensor, " hits"]:
    """Flat indices of negative entries: few, so several sign bits are looked at together."""
    size = block.element_size()
    packed = block.view(torch.int64).flatten()
    words = packed.bitwise_and(_SIGN_BITS[size]).nonzero().flatten()
    each = 8 // size
    at = (words[:, None] * each + torch.arange(each, device=block.device)).flatten()
    return at[torch.signbit(block.flatten()[at])]


def _below_zero_or_least(
    block: Float[Tensor, "rows columns"], groups: tuple[int, int], best: tuple[bool, bool]
) -> Bool[Tensor, "rows columns"]:
    """Negative entries, and each row's least within groups of columns, each column's within groups of rows."""
    chosen = block < 0
    if best[0]:
        for start in range(0, block.shape[1], groups[1]):
            part = block[:, start : start + groups[1]]
            chosen[:, start : start + groups[1]] |= part <= part.amin(1, keepdim=True)
    if best[1]:
        for start in range(0, block.shape[0], groups[0]):
            part = block[start : start + groups[0]]
            chosen[start : start + groups[0]] |= part <= part.amin(0, keepdim=True)
    return chosen


def _rounded_up(number: float, precision: torch.dtype) -> float:
    rounded = torch.tensor(number, dtype=torch.float64).to(precision)
    if rounded.double() < number:
        rounded = torch.nextafter(rounded, torch.tensor(torch.inf, dtype=precision))
    return float(rounded)


def _unit(precision: torch.dtype) -> float:
    return torch.finfo(precision).eps / 2


def _repeated_to_alignment(index: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " padded_n"]:
    return np.pad(index, (0, padded(len(index)) - len(index)), mode="edge")


def _index(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device)
