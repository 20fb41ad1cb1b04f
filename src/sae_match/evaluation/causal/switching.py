"""Features are switched off in a batch of text, many side by side, and what follows is added up."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.causal.divergence import centred, of_change
from sae_match.evaluation.causal.drawing import one_of, uniform
from sae_match.evaluation.causal.effects import SUMS, Effects, Rows
from sae_match.evaluation.causal.sample import ARMS, RANDOM_LIVE, Sample
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.two import pair_name

# Tokens whose target features exist at one time.
_TOKENS = 4096
# What rounding makes of an activation, as a share of it: a fall below that is none.
_ROUNDING = 1e-5


class Switching:
    """Switches features of a pair of layers off on one batch, each in documents of its own.

    Args:
        at: The batch, with the residuals of both layers; its pass is whole.
        sample: Which features.
        datasets: Of the text.
        seed: Of all draws.
    """

    def __init__(self, at: BatchMeasurement, sample: Sample, datasets: list[str], seed: int) -> None:
        self.at, self.sample, self.seed, batch = at, sample, seed, at.batch
        self.stream, self.device = cast(ResidualStream, at.subject.stream), batch.input_ids.device
        self.dataset, self.ends = datasets.index(batch.dataset), at.subject.ends(sample.pair)
        self.source, self.target = (at.subject.open_sae(end) for end in self.ends)
        self.f_source, self.f_target = (at.features(end).f for end in self.ends)
        # Of each place of the batch, its number among the scored tokens; -1 for BOS and padding.
        self.token = torch.full(batch.input_ids.shape, -1, dtype=torch.int64, device=self.device)
        self.token.flatten()[at.places] = torch.arange(len(at.places), device=self.device)
        self.blocks = at.subject.blocks or Blocks.of(self.device)

    def add_to(self, effects: Effects, watch: Callable[[], None] = lambda: None) -> None:
        """Switch off every feature in the documents of the batch that are its own; `watch` is called now and then."""
        row, feature = self._work()
        step = self.blocks.arms_of(self.at.batch.input_ids.shape[1])
        for rows, features in zip(row.split(step), feature.split(step), strict=True):
            if len(rows):
                effects.add(*self._switched(rows, features))
                watch()

    def _work(self) -> tuple[Int64[Tensor, " work"], Int64[Tensor, " work"]]:
        """Rows of the batch, and numbers in the sample of the features that are switched off there."""
        documents, dataset = self.at.batch.documents, self.at.batch.dataset
        chosen = self.sample.features.to(self.device)
        active = torch.zeros(len(documents), len(chosen), dtype=torch.float32, device=self.device)
        active.index_add_(0, self.at.document, (self.f_source[:, chosen] > 0).float())
        name = f"documents of {dataset} for {pair_name(self.sample.pair)}"
        drawn = uniform(self.seed, name, [[one] for one in documents], self.sample.features.numpy())
        taken = torch.from_numpy(drawn) < self.sample.share[dataset]
        row, feature = ((active > 0).cpu() & taken).nonzero(as_tuple=True)
        return row.to(self.device), feature.to(self.device)

    def _switched(
        self, row: Int64[Tensor, " rows"], feature: Int64[Tensor, " rows"]
    ) -> tuple[Rows, Float64[Tensor, "rows width"]]:
        """Switch off a feature in each of some rows."""
        tokens, number = self.token[row], self.sample.features.to(self.device)[feature]
        own = self._values(self.f_source, tokens, number)
        of, place = (own > 0).nonzero(as_tuple=True)
        seen = tokens[of, place]
        partners = self._partners(row, feature, of, seen)
        source, target = self.sample.pair
        without = self._without(self.ends[0], row, own, self.source.W_dec[number])
        after = self.stream.resume(self.at.clean, source, without, self.at.subject.site, rows=row, until=target)
        falls, activations = self._fallen(after[of, place], seen, of, partners)
        last = self.stream.resume(self.at.clean, target, after, rows=row)
        agreement = self._agreement(row, own, last, partners)
        names = torch.stack(
            [feature, torch.full_like(feature, self.dataset), self._documents(row), (own > 0).sum(1)], 1
        )
        return Rows(names.cpu(), torch.cat([activations, agreement], 2).cpu()), falls

    def _partners(
        self, row: Int64[Tensor, " rows"], feature: Int64[Tensor, " rows"], of: Tensor, seen: Tensor
    ) -> Int64[Tensor, "rows arms"]:
        """The target feature of each arm; -1 for none."""
        fixed = {arm: partner.to(self.device)[feature] for arm, partner in self.sample.partners.items()}
        active = torch.zeros(len(row), self.sample.width, dtype=torch.bool, device=self.device)
        for some, where in zip(seen.split(_TOKENS), of.split(_TOKENS), strict=True):
            token, target = (self.f_target[some] > 0).nonzero(as_tuple=True)
            active[where[token], target] = True
        matched = fixed[MATCHED]
        active[torch.arange(len(row), device=self.device), matched] = False
        numbers = self.sample.features[feature.cpu()].numpy()
        name = f"{RANDOM_LIVE} of {pair_name(self.sample.pair)}, {self.at.batch.dataset}"
        drawn = torch.from_numpy(uniform(self.seed, name, numbers, self._documents(row).cpu().numpy())).to(self.device)
        fixed[RANDOM_LIVE] = one_of(active, drawn)
        return torch.stack([fixed[arm] for arm in ARMS], 1)

    def _fallen(
        self, after: Float[Tensor, "tokens d_in"], seen: Tensor, of: Tensor, partners: Int64[Tensor, "rows arms"]
    ) -> tuple[Float64[Tensor, "rows width"], Float64[Tensor, "rows arms three"]]:
        """How far each target feature falls on the tokens that are looked at, and the partners' activations there."""
        there, gone = (self.f_target.new_zeros(len(partners), self.sample.width).double() for _ in range(2))
        sums = torch.zeros(*partners.shape, 3, dtype=torch.float64, device=self.device)
        for x, some, where in zip(after.split(_TOKENS), seen.split(_TOKENS), of.split(_TOKENS), strict=True):
            before, now = self.f_target[some], self.target.encode(x.float())
            there.index_add_(0, where, before.double())
            gone.index_add_(0, where, now.double())
            partner = partners[where]
            z = before.gather(1, partner.clamp_min(0))
            both = (z > 0) & (partner >= 0)
            parts = torch.stack([z, now.gather(1, partner.clamp_min(0)), torch.ones_like(z)], 2).double()
            sums.index_add_(0, where, parts * both[..., None])
        fall = there - gone
        return torch.where(fall.abs() > _ROUNDING * (there + gone), fall, 0.0), sums

    def _agreement(
        self,
        row: Int64[Tensor, " rows"],
        own: Float[Tensor, "rows seq"],
        last: Float[Tensor, "rows seq d"],
        partners: Int64[Tensor, "rows arms"],
    ) -> Float64[Tensor, "rows arms six"]:
        """Sums over tokens of what switching off the source feature and each target feature does to the next token."""
        tokens, active = self.token[row], own > 0
        theirs = [self._values(self.f_target, tokens, partner) for partner in partners.T]
        either = [active | (values > 0) for values in theirs]
        looked_at = [torch.stack(either).any(0)]
        found = [last[looked_at[0]]]
        for arm, (values, where) in enumerate(zip(theirs, either, strict=True)):
            # A feature that is active nowhere changes nothing.
            wakes = (values > 0).any(1)
            looked_at.append(where & wakes[:, None])
            found.append(self._without_target(row[wakes], values[wakes], partners[wakes, arm])[where[wakes]])
        of_own, *of_theirs = self._divergences(row, looked_at, found)
        sums = torch.zeros(*partners.shape, SUMS - 3, dtype=torch.float64, device=self.device)
        for arm, (where, of_target) in enumerate(zip(either, of_theirs, strict=True)):
            a, b = of_own * where, of_target * where
            parts = [where.double(), a, b, a * a, b * b, a * b]
            sums[:, arm] = torch.stack([part.sum(1) for part in parts], 1)
        return sums

    def _without_target(
        self, row: Int64[Tensor, " rows"], values: Float[Tensor, "rows seq"], number: Int64[Tensor, " rows"]
    ) -> Float[Tensor, "rows seq d"]:
        """The last residuals of rows of the batch, of each of which a target feature was taken out."""
        if not len(row):
            return self.at.clean.last[row]
        without = self._without(self.ends[1], row, values, self.target.W_dec[number])
        return self.stream.resume(self.at.clean, self.sample.pair[1], without, self.at.subject.site, rows=row)

    def _divergences(
        self,
        row: Int64[Tensor, " rows"],
        looked_at: Sequence[Bool[Tensor, "rows seq"]],
        found: Sequence[Float[Tensor, "_ d"]],
    ) -> list[Float64[Tensor, "rows seq"]]:
        """KL divergences of the next token's true distribution to those that are left, nats; zero elsewhere.

        In float64, since what one feature does may be as small as the rounding of a sum over a vocabulary.

        Args:
            row: Rows of the batch.
            looked_at: Tokens whose divergence is asked for, of each thing that is switched off.
            found: The last residuals that are left there.
        """
        place = row[:, None] * self.token.shape[1] + torch.arange(self.token.shape[1], device=self.device)
        at, left = torch.cat([place[where] for where in looked_at]), torch.cat(list(found))
        divergence = torch.zeros(len(at), dtype=torch.float64, device=self.device)
        clean = self.at.clean.last.flatten(0, 1)
        # By their places, as many features are switched off on the same token, whose true distribution is one.
        for some in at.argsort(stable=True).split(self.blocks.logits):
            # Products of as many rows: what changes nothing must have the very same logits.
            true = self.stream.logits(clean[at[some]]).double()
            change = self.stream.logits(left[some]).to(true.device).double() - true
            p = _distributions(true, at[some])
            divergence[some] = of_change(p, centred(p, change)).to(self.device)
        spread = [torch.zeros(where.shape, dtype=torch.float64, device=self.device) for where in looked_at]
        parts = divergence.split([len(one) for one in found])
        return [one.masked_scatter(where, part) for one, where, part in zip(spread, looked_at, parts, strict=True)]

    def _without(
        self,
        end: int,
        row: Int64[Tensor, " rows"],
        values: Float[Tensor, "rows seq"],
        direction: Float[Tensor, "rows d_in"],
    ) -> Float[Tensor, "rows seq d_in"]:
        """Residuals of an end with a feature taken out of each row."""
        x = self.at.clean.values[self.at.subject.place(end)][row]
        return (x.float() - values[..., None] * direction[:, None].float()).to(x.dtype)

    def _values(
        self, f: Float[Tensor, "tokens d_sae"], tokens: Int64[Tensor, "rows seq"], number: Int64[Tensor, " rows"]
    ) -> Float[Tensor, "rows seq"]:
        """Values of a feature in each row; zero on BOS and padding, and of no feature."""
        there = (tokens >= 0) & (number >= 0)[:, None]
        return f[tokens.clamp_min(0), number.clamp_min(0)[:, None]] * there

    def _documents(self, row: Int64[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
        return torch.tensor(self.at.batch.documents, dtype=torch.int64, device=self.device)[row]


def _distributions(
    logits: Float64[Tensor, "rows vocabulary"], at: Int64[Tensor, " rows"]
) -> Float64[Tensor, "rows vocabulary"]:
    """Distributions of the next token, computed once for each of the places, which are in order."""
    _, counts = at.to(logits.device).unique_consecutive(return_counts=True)
    first = counts.cumsum(0) - counts
    return logits[first].softmax(-1).repeat_interleave(counts, 0, output_size=len(logits))
