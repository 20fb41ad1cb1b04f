"""Directions are added to the residual stream in a batch of text, many side by side, and what follows is summed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import MATCHED, NEAREST
from sae_match.evaluation.causal.divergence import centred, of_change
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.steering.paths import ARMS, Paths, arms_in
from sae_match.evaluation.steering.settings import FIRST
from sae_match.model.residual_stream import CleanPass, ResidualStream
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch

#: What is kept of each arm, layer and document: scored tokens; the same where the arm's feature there has a typical
#: activation; how far that feature rises, in its typical activations, summed over tokens; how many documents that is of
#: (1), and whether no feature of the layer rises farther; nats by which the next token's distribution moves; the same
#: where the arm's feature is added at its own layer alone; and, of both changes of log-probabilities, variances and
#: covariance under the distribution that was there.
TOKENS, KNOWN, RISE, THERE, TOP, OWN, THEIRS, OWN_SQUARED, THEIRS_SQUARED, PRODUCT = range(10)
SUMS = 10
_MATCHED, _NEAREST = ARMS.index(MATCHED), ARMS.index(NEAREST)
# What rounding makes of a change: variance of log-probabilities on a token, and a share of a sum of activations.
_STILL, _ROUNDING = 1e-9, 1e-5
# Tokens whose features exist at one time; and how many times as many tokens as run side by side are held.
_TOKENS, _HELD = 4096, 8


@dataclass(frozen=True, eq=False)
class Strengths:
    """What is added.

    Attributes:
        typical: Typical activation of every feature of each layer; nan where it is never active.
        strengths: Multiples of it.
        where: At which layers; see `SteeringSettings`.
        seed: Of all draws.
    """

    typical: Mapping[int, Float[Tensor, " d_sae"]]
    strengths: Sequence[float]
    where: Sequence[str]
    seed: int = 0


class Adding:
    """Adds directions in a batch.

    Args:
        stream: The language model.
        saes: Gives the SAE of a layer, where the model is.
        paths: How features are linked.
        added: What is added.
        batch: The text, where the model is.
        blocks: How much is computed at one time.
    """

    def __init__(
        self,
        stream: ResidualStream,
        saes: Callable[[int], SAE],
        paths: Paths,
        added: Strengths,
        batch: TokenBatch,
        blocks: Blocks | None = None,
    ) -> None:
        self.stream, self.saes, self.paths, self.added, self.batch = stream, saes, paths, added, batch
        self.blocks = blocks or Blocks.of(batch.input_ids.device)
        self.clean: CleanPass = stream.capture(batch.input_ids, batch.attention_mask, keep=paths.layers)
        every = torch.arange(len(batch.documents), device=batch.input_ids.device)
        read = {layer: self._read(layer, self.clean.values[layer], every) for layer in paths.layers}
        self._activations = {layer: sums for layer, (sums, _) in read.items()}
        self._live = {layer: live for layer, (_, live) in read.items()}

    @torch.no_grad()
    def of(self, start: tuple[int, int]) -> Float64[Tensor, "where strengths arms rows steps ten"]:
        """Steer along the path of a feature, in every row of the batch; for the sums, see `TOKENS` and so on."""
        layer, _ = start
        after = self.paths.after(layer)
        live = [self._live[one] for one in after]
        # Without BOS and padding, as everything here.
        arms = arms_in(self.paths, start, live, self.added.seed, self.batch.dataset, self.batch.documents)
        known = torch.stack(
            [self._typical(one, arms[:, :, step]).isfinite() for step, one in enumerate(after)], 2
        ).double()
        found = torch.zeros(len(self.added.where), len(self.added.strengths), *arms.shape, SUMS, dtype=torch.float64)
        tokens = self.batch.scored.sum(1).cpu().double()
        found[..., TOKENS] = tokens[:, None]
        found[..., KNOWN] = tokens[:, None] * known
        found[..., THERE] = known
        for rows in self._chunks(arms.shape[2]):
            row = torch.arange(rows.start, rows.stop, device=self.batch.input_ids.device)
            runs, places = zip(*self._runs(start, arms[:, rows], row, found[..., rows, :, :]), strict=True)
            for place, run, moved in zip(places, runs, self._moved(row, runs).cpu(), strict=True):
                if run.own is None:
                    place[..., OWN] = moved[:, :1]
                else:
                    place[..., THEIRS : PRODUCT + 1] = moved[:, None]
        self._repeat(arms, found)
        # What an arm has no feature for is nothing of its own, in no sum that is compared with it.
        found[..., [RISE, TOP, THEIRS, OWN_SQUARED, THEIRS_SQUARED, PRODUCT]] *= known[..., None]
        return found

    def _chunks(self, steps: int) -> Iterator[slice]:
        """Rows of the batch that are looked at together: all that is added to a row is held at one time."""
        rows, seq = self.batch.input_ids.shape
        each = len(self.added.strengths) * (1 + len(ARMS) * (1 + steps)) * seq
        together = max(1, _HELD * self.blocks.together // each)
        for start in range(0, rows, together):
            yield slice(start, min(start + together, rows))

    def _runs(
        self,
        start: tuple[int, int],
        arms: Int64[Tensor, "arms rows steps"],
        row: Int64[Tensor, " rows"],
        sums: Float64[Tensor, "where strengths arms rows steps ten"],
    ) -> Iterator[tuple["_Run", Tensor]]:
        """All that is added to some rows, with the sums that it belongs to."""
        same = arms[_MATCHED] == arms[_NEAREST]
        for s, strength in enumerate(self.added.strengths):
            for w, where in enumerate(self.added.where):
                into = sums[w, s]
                if where == FIRST:
                    path = _Run(self._along(start, arms, row, strength, into, None))
                    yield path, into
                    for arm, step in product(range(len(ARMS)), range(arms.shape[2])):
                        if arm != _NEAREST or not bool(same[:, step].all()):
                            alone = self._alone(start, step, arms[arm, :, step], row, strength)
                            yield _Run(alone, path), into[arm : arm + 1, :, step : step + 1]
                else:
                    for arm in range(len(ARMS)):
                        if arm != _NEAREST or not bool(same.all()):
                            place = into[arm : arm + 1]
                            along = self._along(start, arms[arm : arm + 1], row, strength, place, arms[arm])
                            yield _Run(along), place

    def _repeat(
        self,
        arms: Int64[Tensor, "arms rows steps"],
        found: Float64[Tensor, "where strengths arms rows steps ten"],
    ) -> None:
        """Where the nearest feature is the partner, what was added for the one was added for the other."""
        same = (arms[_MATCHED] == arms[_NEAREST]).all(0)
        for place, where in enumerate(self.added.where):
            if where == FIRST:
                alone = slice(THEIRS, PRODUCT + 1)
                found[place, :, _NEAREST, :, same, alone] = found[place, :, _MATCHED, :, same, alone]
            elif bool(same.all()):
                found[place, :, _NEAREST] = found[place, :, _MATCHED]

    def _along(
        self,
        start: tuple[int, int],
        arms: Int64[Tensor, "arms rows steps"],
        row: Int64[Tensor, " rows"],
        strength: float,
        sums: Float64[Tensor, "arms rows steps ten"],
        added_at_each: Int64[Tensor, "rows steps"] | None,
    ) -> Float[Tensor, "rows seq d"]:
        """Add the first direction, and those of a path at its other layers; sums what the features of some arms do."""
        layer, feature = start
        x = self._with(layer, self.clean.values[layer][row], row, torch.full((len(row),), feature), strength)
        before = layer
        for step, one in enumerate(self.paths.after(layer)):
            x = self._resumed(before, x, row, one)
            # Before anything is added there: what has come from the layers before.
            self._rises(one, x, row, arms[:, :, step], strength, sums[:, :, step])
            if added_at_each is not None:
                x = self._with(one, x, row, added_at_each[:, step], strength)
            before = one
        return self._resumed(before, x, row)

    def _alone(
        self,
        start: tuple[int, int],
        step: int,
        features: Int64[Tensor, " rows"],
        row: Int64[Tensor, " rows"],
        strength: float,
    ) -> Float[Tensor, "rows seq d"]:
        """Add the direction of a feature of each row at its own layer, a step of the path, alone."""
        layer = self.paths.after(start[0])[step]
        return self._resumed(layer, self._with(layer, self.clean.values[layer][row], row, features, strength), row)

    def _resumed(
        self, layer: int, x: Float[Tensor, "rows seq d"], row: Int64[Tensor, " rows"], until: int | None = None
    ) -> Float[Tensor, "rows seq d"]:
        """The model resumed, as many rows at a time as keep the device busy."""
        together = self.blocks.arms_of(x.shape[1])
        parts = zip(x.split(together), row.split(together), strict=True)
        return torch.cat([self.stream.resume(self.clean, layer, one, rows=some, until=until) for one, some in parts])

    def _rises(
        self,
        layer: int,
        x: Float[Tensor, "rows seq d"],
        row: Int64[Tensor, " rows"],
        features: Int64[Tensor, "arms rows"],
        strength: float,
        sums: Float64[Tensor, "arms rows ten"],
    ) -> None:
        """Note how far some features of a layer rise."""
        now, before = self._read(layer, x, row)[0], self._activations[layer][row]
        rise = now - before
        rise = torch.where(rise.abs() > _ROUNDING * (now + before), rise, 0.0).cpu()
        own = rise.gather(1, features.T.clamp_min(0)).T
        sums[..., RISE] = (own / self._typical(layer, features)).nan_to_num(0.0)
        toward = 1.0 if strength > 0 else -1.0
        farthest = (toward * rise).max(1).values
        sums[..., TOP] = ((toward * own >= farthest) & (farthest > 0)).double()

    def _with(
        self,
        layer: int,
        x: Float[Tensor, "rows seq d"],
        row: Int64[Tensor, " rows"],
        features: Int64[Tensor, " rows"],
        strength: float,
    ) -> Float[Tensor, "rows seq d"]:
        """Residuals with a feature's direction added on the scored tokens of each row; no feature, nothing."""
        W_dec = self.saes(layer).W_dec
        size = strength * self._typical(layer, features).nan_to_num(0.0)
        added = size.to(x.device)[:, None].float() * W_dec[features.clamp_min(0).to(W_dec.device)].to(x.device).float()
        return (x.float() + added[:, None] * self.batch.scored[row][..., None]).to(x.dtype)

    def _typical(self, layer: int, features: Int64[Tensor, "*some"]) -> Float64[Tensor, "*some"]:
        """Typical activations; nan of no feature."""
        values = self.added.typical[layer].double().cpu()[features.clamp_min(0)]
        return torch.where(features >= 0, values, torch.nan)

    def _read(
        self, layer: int, x: Float[Tensor, "rows seq d"], row: Int64[Tensor, " rows"]
    ) -> tuple[Float64[Tensor, "rows d_sae"], Bool[Tensor, "rows d_sae"]]:
        """Activations of a layer's features, summed over the scored tokens of each row, and whether they are active."""
        sae = self.saes(layer)
        of, place = self.batch.scored[row].nonzero(as_tuple=True)
        sums = torch.zeros(len(row), sae.d_sae, dtype=torch.float64, device=x.device)
        for some, there in zip(of.split(_TOKENS), place.split(_TOKENS), strict=True):
            sums.index_add_(0, some, sae.encode(x[some, there].float()).double())
        return sums, sums > 0

    def _moved(self, row: Int64[Tensor, " rows"], runs: Sequence["_Run"]) -> Float64[Tensor, "runs rows four"]:
        """How the next token's distribution moves: nats, variances of a run's own and of this, covariance; sums.

        The variance, under the distribution that was there, of how log-probabilities change is twice the divergence to
        second order (Fisher's information), so the covariance says how far two changes are one.
        """
        of, place = self.batch.scored[row].nonzero(as_tuple=True)
        found = torch.zeros(len(runs), len(row), 4, dtype=torch.float64, device=row.device)
        compared = {run.own for run in runs}
        for some, at in zip(of.split(self.blocks.logits), place.split(self.blocks.logits), strict=True):
            clean = self._logits(self.clean.last[row[some], at])
            p = clean.softmax(-1)
            held: dict[_Run, tuple[Tensor, Tensor]] = {}
            for number, run in enumerate(runs):
                change = centred(p, self._logits(run.last[some, at]) - clean)
                square = (p * change * change).sum(-1).double()
                moves = square > _STILL
                nats = of_change(p, change)
                parts = [torch.where(moves, nats, 0.0), *(torch.zeros_like(nats) for _ in range(3))]
                if run in compared:
                    held[run] = change, torch.where(moves, square, 0.0)
                if run.own is not None:
                    other, others = held[run.own]
                    both = torch.where(moves & (others > 0), (p * change * other).sum(-1).double(), 0.0)
                    parts[1:] = [others, torch.where(moves, square, 0.0), both]
                found[number].index_add_(0, some, torch.stack(parts, 1))
        return found

    def _logits(self, last: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens vocabulary"]:
        return self.stream.logits(last).to(last.device).float()


@dataclass(frozen=True, eq=False)
class _Run:
    """Residuals that something was added to, behind the last layer.

    Attributes:
        last: Of each row.
        own: The run that it is compared with; none of a run along a path.
    """

    last: Float[Tensor, "rows seq d"]
    own: "_Run | None" = None
