"""Sizes and shares that decide how soon a matching is found, never what is proven about it.

Nor which one, as long as passes may bring a few pairs a row: with room for hardly one (`most_pairs=1`, `room=300`) the
rounds end before the gap is closed, and say so.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ByDevice:
    """A size on a processor, and on a GPU."""

    cpu: int
    gpu: int

    def on(self, device: torch.device) -> int:
        """The size on a device."""
        return self.cpu if device.type == "cpu" else self.gpu


@dataclass(frozen=True)
class Tuning:
    """What was measured to be fast.

    Passes are counted, since they depend on no machine: of 95 problems (planted dictionaries of 512 to
    4,096 features, square, rectangular and with a rejection cost, and all pairs of neighbours of the
    bundled SAEs, folded and not; dense, and sparse from bfloat16 and from float32), and at 16k: 16,384 x
    16,384 features, d = 2,304, planted, from bfloat16, which takes 4 passes over 3.00 times all pairs.
    Times are of one processor core with bfloat16 units. What names no measurement was chosen, not measured,
    and so were all sizes on a GPU.

    Attributes:
        memory_share: Share of free memory that a solution may take unless told: the rest is other
            programs'.
        feature_bytes: Of candidate pairs, their sorting and the assignment among them, a row or column.
        dense_most: Most pairs whose float64 matrix is made by choice. Against passes in float32 it took
            0.6 to 0.9 of the time at 256^2 to 4,096^2 pairs, d = 64 to 2,304.
        dense_products: Most pairs times width for which that is so against passes in bfloat16. Dense took
            0.7 to 0.9 of sparse's time at 256^2 to 3,072^2 pairs, d = 64 (2^30 products at 2,900^2), as much
            at 1,024^2, d = 512, and at 256^2, d = 2,304 (2^28 to 2^30); 1.3 to 2.0 times at 512^2 to
            4,096^2, d = 2,304. `benchmark.py 'cases=[small]'` measures it again.
        bfloat16_gain: Times as fast as in float32 that products in bfloat16 must be to be taken: coarser
            passes bring more pairs that must be priced exactly.
        block_rows: Of a block of the sparse solver; it has twice as many columns. 1,024 to 4,096 rows differ
            by 6 % at 4,096^2, d = 256; 256 rows take 10 % longer.
        smallest_block: Fewest rows of a block that has to fit a memory budget.
        dense_entries: Of a block of the dense solver's reduced costs, which should stay in a processor's
            cache until they have been looked at. 2^14 to 2^20 make no difference at 2,048^2, 2^22 take 7 %
            longer.
        parameter_rows: Of a block of parameters that no compiled loop takes: half precision, and GPUs.
            128 to 2,048 take 10 % less at 2,048^2 in bfloat16, d = 256, and 8 take 40 % longer.
        vector_rows: Of a block of float64 feature vectors. 256 to 1,024 differ by 7 % in finding the nearest
            of 2,048^2, d = 256; 32 take half as long again.
        groups: Groups of the other side within which a first pass finds every feature's best pair. With 4,
            44 of the 95 take more passes, some three more.
        first_pairs: Pairs a row, on average, that the first pass brings. Without, 16k takes 5 passes over
            3.59 times all pairs; with 24, one of the 95 takes a pass more and one a pass less.
        sparse_pairs: Pairs a row that a later pass in low precision brings. With 24, 9 of 63 take one or two
            passes more.
        dense_pairs: The same of a pass over a matrix. With 64, 5 of 32 take a pass less, in the same time.
        usual_width: Wider dictionaries have more near neighbours: from here on passes bring more pairs.
        growth: As many times more as the width is, to this power.
        most_growth: But no more than this many times: more would be memory's limit.
        most_pairs: Pairs a row that a pass may bring before it counts as crowded.
        room: Pairs that there is room for on every machine, however many of a row's they are.
        sampled_rows: Rows by which a pass judges how many pairs lie below a threshold. With 64, one of the
            95 takes a pass more; 1,024 take 20 % longer at 2,048^2.
        above: Share by which a threshold is raised above the quantile, so that pairs that tie there are not
            all left out. Without, 2 of the 95 take a pass more.
        largest_part: Share of all pairs up to which a pass over a part of them is worth its while. With none,
            the 95 look at 12 % more pairs; with all, 2 take a pass more.
        part_shares: Shares of the columns that are tried as the part of the columns; the rows follow from it.
        length_groups: Groups by length whose duals' rise is bounded together. 32 prove as much on the 95.
        bids: Bids a row before the rest is left to shortest paths. 0 to 100 take the same time at 4,096^2;
            without a limit, the assignment takes 30 to 55 times as long.
        equal_share: Share of a side's features that are equal to another one from which on equal ones are taken
            together. Fewer do no harm.
        augmented_rows: Rows that find a column by shortest paths before the program is heard again.
        cosine: That partners are taken to have before anything is known. With 0, 15 of the 95 take more
            passes. (With no starting duals at all, 3 of the 95 take more and 6 fewer, and 16k takes 5 over 4.00.)
        known: How far costs may be off without it being of any matter, in units of the mean cost of a pair.
            With 0, the dense solver makes three times as many costs exact, in as many passes.
        exact_pairs: Doubtful pairs a row up to which their costs are made exact after a pass; more of them are
            left to the next one. Without, the 95 and 16k take as many passes (one takes one less), but 16k
            makes 1,150,000 costs exact instead of 69,000, which takes 3 of its 22 seconds of one core more.
        most_rounds: Passes after which what has been reached is given.
    """

    memory_share: float = 0.8
    feature_bytes: int = 20_000
    dense_most: int = 4096**2
    dense_products: int = 2**30
    bfloat16_gain: float = 1.5
    block_rows: ByDevice = ByDevice(2048, 8192)
    smallest_block: int = 64
    dense_entries: ByDevice = ByDevice(2**18, 2**24)
    parameter_rows: ByDevice = ByDevice(32, 8192)
    vector_rows: int = 256
    groups: int = 16
    first_pairs: int = 12
    sparse_pairs: int = 64
    dense_pairs: int = 24
    usual_width: int = 16_384
    growth: float = 0.4
    most_growth: float = 1.75
    most_pairs: int = 256
    room: int = 8_000_000
    sampled_rows: int = 256
    above: float = 0.01
    largest_part: float = 0.6
    part_shares: tuple[float, ...] = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    length_groups: int = 128
    bids: int = 40
    equal_share: float = 1 / 64
    augmented_rows: int = 64
    cosine: float = 0.5
    known: float = 1e-10
    exact_pairs: int = 6
    most_rounds: int = 40


TUNING = Tuning()
