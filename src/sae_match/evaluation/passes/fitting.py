"""The pass over the fitting text: what the arms that need text are made of, before any is measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import COACTIVATION, LINEAR_MAP, LINEAR_MAP_SAE, MEAN
from sae_match.evaluation.fitting import ActivityRecord, LeastSquares, LinearMap, MeanVector, together
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.state import Pass, State, Tell
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.resuming import Unfinished
from sae_match.matching.baselines import match_by_coactivation
from sae_match.matching.result import Matching
from sae_match.text.batches import TokenBatch

Join = Callable[[Pair, PairMatchings, Matching], PairMatchings]
"""Matchings of a pair, with the one by co-activation among them."""


@dataclass(frozen=True)
class Fitted:
    """What was fitted for a pair of layers, as far as arms need it.

    Attributes:
        linear: The affine map.
        coactivation: The matching by co-activation.
        mean: The mean residual of the target layer.
    """

    linear: LinearMap | None = None
    coactivation: Matching | None = None
    mean: Float[Tensor, " d_in"] | None = None

    def flat(self) -> Float64[Tensor, " entries"]:
        """All of it in one vector on the CPU, in which every number is exact."""
        # Of a layer to itself there may be nothing to fit.
        parts: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
        if self.linear is not None:
            parts += [self.linear.weight, self.linear.bias]
        if self.coactivation is not None:
            # No partner, -1, costs nothing that is a number, which a vector of sums may not hold.
            parts += [self.coactivation.permutation, self.coactivation.pair_cost.nan_to_num()]
        if self.mean is not None:
            parts.append(self.mean)
        return torch.cat([part.double().cpu().flatten() for part in parts])


class FittingPass(Pass):
    """Fits what arms need: each pair of layers in one process, on all of the fitting text.

    Sums of the same numbers in another order differ in their last digits, and least squares make more of that: so
    that any number of processes finds the same, they share pairs, not batches. Then each hears of the others' pairs.

    Args:
        state: What is known of the validation.
        join: Makes matchings by co-activation part of the others.
        kept: Where what is fitted of a pair is kept.
        tell: Told what is done.
    """

    name, stays = "fitting text", False

    def __init__(self, state: State, join: Join, kept: Callable[[Pair], Unfinished], tell: Tell) -> None:
        self.state, self.join, self.kept, self.tell = state, join, kept, tell
        self.pairs = state.processes.own(state.layout.pairs)
        self.ends = sorted({end for pair in self.pairs for end in state.layout.ends(pair)})
        arms = state.subject.arms
        self.maps, self.counts, self.means = (
            bool({LINEAR_MAP, LINEAR_MAP_SAE} & set(arms)),
            COACTIVATION in arms,
            MEAN in arms,
        )
        self._found: dict[Pair, Fitted] = {}
        for pair in self.pairs:
            self._take_kept(pair)
        self.start()

    def start(self) -> None:
        """Begin with empty sums."""
        self._squares: dict[Pair, LeastSquares] = {}
        self._records: dict[int, ActivityRecord] = {}
        self._means = {target: MeanVector() for _, target in self.pairs} if self.means else {}

    def entries(self) -> int | None:
        """None: how many sums there are follows from the text."""
        return None

    def add(self, number: int, batch: TokenBatch, batches: int) -> None:
        """Add a batch to the sums of this process's pairs."""
        if batch.scored.any() and any(pair not in self._found for pair in self.pairs):
            self._add(batch)
        self.tell(self.name, number + 1, batches)

    def flat(self) -> Float64[Tensor, " entries"]:
        """All sums in one vector."""
        d_in, parts = self.state.layout.d_in, [torch.zeros(0, dtype=torch.float64)]
        if self.maps:
            for pair in filter(self._is_mapped, self.pairs):
                sums = self._squares.get(pair)
                parts.append(torch.zeros(_entries(d_in), dtype=torch.float64) if sums is None else sums.flat())
        parts += [mean.flat(d_in) for mean in self._means.values()]
        if self.counts:
            parts += [self._record(end).flat() for end in self.ends]
        return torch.cat(parts)

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Go on from sums that `flat` gave.

        Raises:
            ValueError: If it cannot have given them.
        """
        d_in, device = self.state.layout.d_in, self.state.device
        mapped = list(filter(self._is_mapped, self.pairs))
        fixed = [_entries(d_in)] * len(mapped) + [1 + d_in] * len(self._means)
        if sum(fixed) > len(flat):
            raise ValueError("its sums are cut off")
        *parts, rest = flat.split([*fixed, len(flat) - sum(fixed)])
        squares = dict(zip(mapped, parts, strict=False))
        means = dict(zip(self._means, parts[len(squares) :], strict=True))
        records = {}
        for end in self.ends if self.counts else ():
            records[end], rest = ActivityRecord.filled(rest, self.state.layout.features[end], device)
        if len(rest):
            raise ValueError(f"{len(rest)} of its sums are of nothing")
        self._squares = {pair: LeastSquares.filled(part, d_in, device) for pair, part in squares.items() if part[0] > 0}
        self._means = {layer: MeanVector.filled(part, device) for layer, part in means.items()}
        self._records = records

    def finish(self) -> None:
        """Fit this process's pairs, and hear of the others'.

        Raises:
            UserError: If there is too little text.
        """
        for number, pair in enumerate(self.pairs):
            if pair not in self._found:
                self._found[pair] = self._fitted(pair)
                self.kept(pair).keep(self._found[pair].flat(), set())
            if self.counts:
                self.tell("matching by co-activation", number + 1, len(self.pairs))
        self.start()
        state, pairs = self.state, self.state.layout.pairs
        for number, pair in enumerate(pairs):
            own = {"flat": self._found[pair].flat()} if pair in self._found else {}
            flat = state.processes.given_by(state.processes.owner(number, len(pairs)), own)["flat"]
            found = self._found.setdefault(pair, self._of(pair, flat))
            if found.coactivation is not None:
                state.matchings[pair] = self.join(pair, state.matchings[pair], found.coactivation)
        state.subject = replace(
            state.subject,
            linear={pair: one.linear for pair, one in self._found.items() if one.linear is not None},
            means={pair[1]: one.mean for pair, one in self._found.items() if one.mean is not None},
        )

    def _add(self, batch: TokenBatch) -> None:
        at = BatchMeasurement.captured(self.state.subject, batch, self.pairs, whole=False)
        if self.counts:
            for end in self.ends:
                self._record(end).add(at.features(end).active)
                at.forget(end)
        for pair in filter(self._is_mapped, self.pairs):
            x, y = (at.scored(at.clean.values[layer]).float() for layer in pair)
            if pair not in self._squares:
                self._squares[pair] = LeastSquares(x, y)
            self._squares[pair].add(x, y)
        for layer, mean in self._means.items():
            mean.add(at.scored(at.clean.values[layer]))

    def _record(self, end: int) -> ActivityRecord:
        return self._records.setdefault(end, ActivityRecord(self.state.layout.features[end]))

    def _fitted(self, pair: Pair) -> Fitted:
        linear = None
        if self._is_mapped(pair):
            sums = self._squares.get(pair)
            # Without a token there is no centre either: one at the origin says how many there are.
            nothing = torch.zeros(1, self.state.layout.d_in, dtype=torch.float32)
            linear = (LeastSquares(nothing, nothing) if sums is None else sums).solution()
        return Fitted(
            linear,
            self._matched(pair) if self.counts else None,
            self._means[pair[1]].solution() if self.means else None,
        )

    def _is_mapped(self, pair: Pair) -> bool:
        """Whether an arm needs the map between two layers; of a layer to itself there is nothing to fit."""
        return self.maps and pair[0] != pair[1]

    def _matched(self, pair: Pair) -> Matching:
        # Counts of one pair at a time: they are the largest thing here.
        source, target = (self._record(end) for end in self.state.layout.ends(pair))
        return match_by_coactivation(together(source, target))

    def _take_kept(self, pair: Pair) -> None:
        """Take what an earlier run has fitted of a pair, if it has."""
        kept = self.kept(pair)
        if (found := kept.found(sum(self._sizes(pair).values()), 0)) is not None:
            try:
                self._found[pair] = self._of(pair, found[0])
            except UserError as error:
                kept.say_unusable(error)

    def _sizes(self, pair: Pair) -> Mapping[str, int]:
        """Numbers of each part of what is fitted of a pair, in their order."""
        layout = self.state.layout
        d_in, features = layout.d_in, layout.features[layout.ends(pair)[0]]
        linear = ("weight", "bias") if self._is_mapped(pair) else ()
        matched = ("permutation", "cost") if self.counts else ()
        wanted = (*linear, *matched, *(("mean",) if self.means else ()))
        sizes = {"weight": d_in * d_in, "bias": d_in, "permutation": features, "cost": features, "mean": d_in}
        return {name: sizes[name] for name in wanted}

    def _of(self, pair: Pair, flat: Float64[Tensor, " entries"]) -> Fitted:
        """What `Fitted.flat` gave."""
        sizes, device, d_in = self._sizes(pair), self.state.device, self.state.layout.d_in
        part = dict(zip(sizes, flat.split(list(sizes.values())), strict=True))
        linear = coactivation = mean = None
        if "weight" in part:
            weight, bias = (part[name].to(device).float() for name in ("weight", "bias"))
            linear = LinearMap(weight.reshape(d_in, d_in), bias)
        if self.counts:
            partner = part["permutation"].long()
            cost = torch.where(partner >= 0, part["cost"], torch.nan)
            coactivation = Matching(partner, cost, provenance={"solver": "coactivation"})
        if self.means:
            mean = part["mean"].to(device).float()
        return Fitted(linear, coactivation, mean)


def _entries(d_in: int) -> int:
    """Of the sums of least squares between two layers of one width."""
    return 1 + 4 * d_in + 2 * d_in**2
