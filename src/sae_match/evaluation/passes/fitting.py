"""The pass over the fitting text: what the arms that need text are made of, before any is measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import (
    COACTIVATION,
    LINEAR_MAP,
    LINEAR_MAP_SAE,
    MATCHED_MAPPED,
    MEAN,
    OF_TWO_MODELS,
    PROCRUSTES,
)
from sae_match.evaluation.fitting import ActivityRecord, LeastSquares, LinearMap, MeanVector, together
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.joining import Joining
from sae_match.evaluation.passes.state import Pass, State, Tell
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.resuming import Unfinished
from sae_match.evaluation.two_models.mapping import MapBothWays, rotation_of
from sae_match.matching.baselines import match_by_coactivation
from sae_match.matching.result import Matching
from sae_match.text.batches import TokenBatch

_JOINED = (COACTIVATION, MATCHED_MAPPED)


@dataclass(frozen=True)
class Fitted:
    """What was fitted for a pair of layers, as far as arms need it.

    Attributes:
        linear: The affine map.
        rotation: The affine map that turns and shifts.
        matchings: Those that need text, by arm.
        mean: The mean residual of the target layer.
    """

    linear: LinearMap | None = None
    rotation: LinearMap | None = None
    matchings: Mapping[str, Matching] = field(default_factory=dict)
    mean: Float[Tensor, " d_in"] | None = None

    def flat(self) -> Float64[Tensor, " entries"]:
        """All of it in one vector on the CPU, in which every number is exact."""
        # Of a layer to itself there may be nothing to fit.
        parts: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
        for one in (self.linear, self.rotation):
            parts += [] if one is None else [one.weight, one.bias]
        for arm in _JOINED:
            if (found := self.matchings.get(arm)) is not None:
                # No partner, -1, costs nothing that is a number, which a vector of sums may not hold.
                parts += [found.permutation, found.pair_cost.nan_to_num()]
        if self.mean is not None:
            parts.append(self.mean)
        return torch.cat([part.double().cpu().flatten() for part in parts])


class FittingPass(Pass):
    """Fits what arms need: each pair of layers in one process, on all of the fitting text.

    Sums of the same numbers in another order differ in their last digits, and least squares make more of that: so
    that any number of processes finds the same, they share pairs, not batches. Then each hears of the others' pairs.

    Args:
        state: What is known of the validation.
        join: Makes matchings that need text part of the others.
        kept: Where what is fitted of a pair is kept.
        tell: Told what is done.
    """

    name, stays = "fitting text", False

    def __init__(self, state: State, join: Joining, kept: Callable[[Pair], Unfinished], tell: Tell) -> None:
        self.state, self.join, self.kept, self.tell = state, join, kept, tell
        self.pairs = state.processes.own(state.layout.pairs)
        self.ends = sorted({end for pair in self.pairs for end in state.layout.ends(pair)})
        arms = state.subject.arms
        self.maps, self.turns = bool({LINEAR_MAP, LINEAR_MAP_SAE} & set(arms)), bool(set(OF_TWO_MODELS) & set(arms))
        self.counts, self.means = COACTIVATION in arms, MEAN in arms
        self.widths = (state.layout.d_source or state.layout.d_in, state.layout.d_in)
        #: The map back is asked for where it is not the inverse of the one there.
        self.backs = MATCHED_MAPPED in arms and self.widths[0] != self.widths[1]
        self._found: dict[Pair, Fitted] = {}
        for pair in self.pairs:
            self._take_kept(pair)
        self.start()

    def start(self) -> None:
        """Begin with empty sums."""
        self._squares: dict[Pair, LeastSquares] = {}
        self._backward: dict[Pair, LeastSquares] = {}
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
        for sums, widths in self._sums():
            for pair in filter(self._is_mapped, self.pairs):
                there = sums.get(pair)
                parts.append(torch.zeros(_entries(*widths), dtype=torch.float64) if there is None else there.flat())
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
        squares = [_entries(*widths) for _, widths in self._sums() for _ in mapped]
        fixed = [*squares, *([1 + d_in] * len(self._means))]
        if sum(fixed) > len(flat):
            raise ValueError("its sums are cut off")
        *parts, rest = flat.split([*fixed, len(flat) - sum(fixed)])
        means = dict(zip(self._means, parts[len(squares) :], strict=True))
        records = {}
        for end in self.ends if self.counts else ():
            records[end], rest = ActivityRecord.filled(rest, self.state.layout.features[end], device)
        if len(rest):
            raise ValueError(f"{len(rest)} of its sums are of nothing")
        for sums, widths in self._sums():
            of, parts = parts[: len(mapped)], parts[len(mapped) :]
            filled = {
                pair: LeastSquares.filled(part, *widths, device)
                for pair, part in zip(mapped, of, strict=True)
                if part[0] > 0
            }
            sums.update(filled)
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
            elif self.turns:
                self.tell("matching mapped dictionaries", number + 1, len(self.pairs))
        self.start()
        state, pairs = self.state, self.state.layout.pairs
        for number, pair in enumerate(pairs):
            own = {"flat": self._found[pair].flat()} if pair in self._found else {}
            flat = state.processes.given_by(state.processes.owner(number, len(pairs)), own)["flat"]
            found = self._found.setdefault(pair, self._of(pair, flat))
            for arm, matching in found.matchings.items():
                state.matchings[pair] = self.join.joined(pair, state.matchings[pair], arm, matching)
        state.subject = replace(
            state.subject,
            linear={pair: one.linear for pair, one in self._found.items() if one.linear is not None},
            rotations={pair: one.rotation for pair, one in self._found.items() if one.rotation is not None},
            means={pair[1]: one.mean for pair, one in self._found.items() if one.mean is not None},
        )

    def _add(self, batch: TokenBatch) -> None:
        at = BatchMeasurement.captured(self.state.subject, batch, self.pairs, whole=False)
        if self.counts:
            for end in self.ends:
                self._record(end).add(at.features(end).active)
                at.forget(end)
        for pair in filter(self._is_mapped, self.pairs):
            x, y = (at.value(end).float() for end in self.state.layout.ends(pair))
            _add_to(self._squares, pair, x, y)
            if self.backs:
                _add_to(self._backward, pair, y, x)
        # The same target's residuals once, whatever the sources.
        targets = {target: self.state.layout.ends((source, target))[1] for source, target in self.pairs}
        for layer, mean in self._means.items():
            mean.add(at.value(targets[layer]))

    def _record(self, end: int) -> ActivityRecord:
        return self._records.setdefault(end, ActivityRecord(self.state.layout.features[end]))

    def _fitted(self, pair: Pair) -> Fitted:
        linear = rotation = None
        matchings: dict[str, Matching] = {}
        arms = self.state.subject.arms_of(pair)
        if self._is_mapped(pair):
            sums = self._squares.get(pair) or _nothing(*self.widths)
            linear = sums.solution() if self.maps else None
            rotation = rotation_of(sums) if PROCRUSTES in arms else None
            if MATCHED_MAPPED in arms:
                backward = (self._backward.get(pair) or _nothing(*reversed(self.widths))) if self.backs else None
                matchings[MATCHED_MAPPED] = self.join.matched(pair, MapBothWays.of(sums, backward))
        if self.counts:
            # Counts of one pair at a time: they are the largest thing here.
            source, target = (self._record(end) for end in self.state.layout.ends(pair))
            matchings[COACTIVATION] = match_by_coactivation(together(source, target))
        return Fitted(linear, rotation, matchings, self._means[pair[1]].solution() if self.means else None)

    def _is_mapped(self, pair: Pair) -> bool:
        """Whether an arm needs a map between two residuals; of one to itself there is nothing to fit."""
        return (self.maps or self.turns) and (self.state.layout.two_models or pair[0] != pair[1])

    def _sums(self) -> list[tuple[dict[Pair, LeastSquares], tuple[int, int]]]:
        """Sums of least squares that are needed, with the widths that these are between."""
        there, back = (self._squares, self.widths), (self._backward, (self.widths[1], self.widths[0]))
        return [*([there] if self.maps or self.turns else []), *([back] if self.backs else [])]

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
        arms, mapped = self.state.subject.arms_of(pair), self._is_mapped(pair)
        maps = [*(["linear"] if mapped and self.maps else []), *([PROCRUSTES] if mapped and PROCRUSTES in arms else [])]
        sizes: dict[str, int] = {}
        for name in maps:
            sizes |= {f"{name} weight": self.widths[0] * d_in, f"{name} bias": d_in}
        for arm in (arm for arm in _JOINED if arm in arms):
            sizes |= {f"{arm} permutation": features, f"{arm} cost": features}
        return {**sizes, **({"mean": d_in} if self.means else {})}

    def _of(self, pair: Pair, flat: Float64[Tensor, " entries"]) -> Fitted:
        """What `Fitted.flat` gave."""
        sizes, device = self._sizes(pair), self.state.device
        part = dict(zip(sizes, flat.split(list(sizes.values())), strict=True))
        maps: dict[str, LinearMap] = {}
        for name in ("linear", PROCRUSTES):
            if f"{name} weight" in part:
                weight, bias = (part[f"{name} {what}"].to(device).float() for what in ("weight", "bias"))
                maps[name] = LinearMap(weight.reshape(self.widths), bias)
        matchings = {}
        for arm in _JOINED:
            if f"{arm} permutation" in part:
                partner = part[f"{arm} permutation"].long()
                cost = torch.where(partner >= 0, part[f"{arm} cost"], torch.nan)
                matchings[arm] = Matching(partner, cost, provenance={"solver": arm})
        mean = part["mean"].to(device).float() if self.means else None
        return Fitted(maps.get("linear"), maps.get(PROCRUSTES), matchings, mean)


def _entries(d_in: int, d_out: int) -> int:
    """Of the sums of least squares between two residuals."""
    return 1 + 2 * (d_in + d_out) + d_in * (d_in + d_out)


def _add_to(
    sums: dict[Pair, LeastSquares], pair: Pair, x: Float[Tensor, "tokens d_in"], y: Float[Tensor, "tokens d_out"]
) -> None:
    if pair not in sums:
        sums[pair] = LeastSquares(x, y)
    sums[pair].add(x, y)


def _nothing(d_in: int, d_out: int) -> LeastSquares:
    """Sums of no token: without one there is no centre either, and one at the origin says how many there are."""
    return LeastSquares(torch.zeros(1, d_in, dtype=torch.float32), torch.zeros(1, d_out, dtype=torch.float32))
