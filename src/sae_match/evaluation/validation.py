"""`MatchValidation`: match the SAEs of adjacent layers, then see on text how much survives."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import lightning as L
from jaxtyping import Bool, Float
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.arms import (
    ARMS,
    IDENTITY,
    MATCHED,
    MATCHED_UNFOLDED,
    MATCHING_ARMS,
    RANDOM,
    Transport,
    checked_arms,
    stand_in,
)
from sae_match.evaluation.results import Results
from sae_match.evaluation.statistics import Activity, LossSum, Moments, joint_activity
from sae_match.evaluation.tally import Pair, Tally
from sae_match.matching import baselines
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import PairWatch, match_layers, save_matching, unwatched
from sae_match.matching.matching import MatcherSettings, Matching
from sae_match.model.residual_stream import CleanPass, ResidualStream
from sae_match.saes.collection import SAECollection
from sae_match.saes.folding import Fold, natural_fold
from sae_match.saes.sae import SAE
from sae_match.saes.sites import checked_site
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)


@dataclass
class EvaluationSettings:
    """What is measured.

    Attributes:
        arms: Names of arms; `clean` is always there.
        seed: Seed of the `random` arm.
    """

    arms: list[str] = field(default_factory=lambda: list(ARMS))
    seed: int = 0


@dataclass(frozen=True)
class _Features:
    """True residuals of a layer on a batch's scored tokens, and its SAE's features of them."""

    x: Float[Tensor, "tokens d_in"]
    f: Float[Tensor, "tokens d_sae"]


class MatchValidation(L.LightningModule):
    """Validates the matchings of all adjacent pairs of a collection on streamed text.

    `setup` matches, from the weights alone; every `validation_step` runs the model once to capture
    all residual streams, and resumes it after the target layer for each pair and arm.

    Args:
        stream: The frozen language model.
        collection: Its SAEs.
        matcher: How features are matched.
        settings: What is measured.
        cache: Where matchings are kept between runs.
        folder: Run folder; the matchings are written to `matchings/` in it.
        watch: Told where the solution of each pair stands.

    Attributes:
        matchings: After `setup`, the matching of each pair and matching arm.
        tally: Sums over the validated batches.
    """

    def __init__(
        self,
        stream: ResidualStream,
        collection: SAECollection,
        matcher: MatcherSettings,
        settings: EvaluationSettings,
        cache: MatchingCache,
        folder: Path,
        watch: PairWatch = unwatched,
    ) -> None:
        super().__init__()
        self.stream, self.collection, self.matcher = stream, collection, matcher
        self.cache, self.folder, self.seed, self.watch = cache, folder, settings.seed, watch
        self.arms, self.site = checked_arms(settings.arms), checked_site(collection.site)
        self.pairs = collection.adjacent_pairs()
        if not self.pairs:
            raise UserError(f"no two adjacent layers with an SAE in {collection.source}; nothing to match")
        self.saes: dict[int, SAE] = {}
        self.matchings: dict[tuple[Pair, str], Matching] = {}
        self.transports: dict[Pair, dict[str, Transport]] = {}
        self.tally = Tally()

    @property
    def results(self) -> Results:
        """Results of the documents validated so far."""
        return Results(self.tally.results())

    def setup(self, stage: str) -> None:
        """Open the SAEs and match every pair; no text and no language model is needed for it."""
        for layer in sorted({layer for pair in self.pairs for layer in pair}):
            self.saes[layer] = self._open_fitting(layer)
        for pair in self.pairs:
            for arm in self._matching_arms():
                self.matchings[pair, arm] = self._matching(pair, arm)
            log.info("layers %d and %d matched%s", *pair, self._evidence(pair))
            self._save_matching(pair)

    def on_validation_start(self) -> None:
        """Bring the SAEs to the device that the model is on and start from empty sums."""
        self.tally = Tally()
        self.saes = {layer: sae.to(self.device) for layer, sae in self.saes.items()}
        for source, target in self.pairs:
            self.transports[source, target] = {
                arm: Transport.between(
                    self.saes[source], self.saes[target], self.matchings[(source, target), arm], self._fold(arm)
                )
                for arm in self._matching_arms()
            }

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """Measure every pair and arm on a batch of documents of one dataset."""
        clean = self.stream.capture(batch.input_ids, batch.attention_mask, self.site)
        loss = self._loss(clean.residuals[-1], batch)
        self.tally.add_clean(batch.dataset, len(batch.input_ids), loss)
        features: dict[int, _Features] = {}
        for source, target in self.pairs:
            for layer in (source, target):
                if layer not in features:
                    features[layer] = self._features(clean, layer, batch)
            self._measure_pair((source, target), clean, features, batch)
            # Pairs ascend, so nothing below the next pair's source is read again.
            features.pop(source)

    def _features(self, clean: CleanPass, layer: int, batch: TokenBatch) -> _Features:
        x = clean.values[layer][batch.scored].float()
        f = self.saes[layer].encode(x)
        self.tally.add_layer(layer, batch.dataset, Moments.of(x.double()), Activity.of(f > 0))
        return _Features(x, f)

    def _measure_pair(self, pair: Pair, clean: CleanPass, features: dict[int, _Features], batch: TokenBatch) -> None:
        source, target = pair
        before, after = features[source], features[target]
        transports, x = self.transports[pair], after.x.double()
        for arm in self.arms:
            x_hat = stand_in(arm, before.x, before.f, after.f, self.saes[source], self.saes[target], transports)
            value = clean.values[target].clone()
            value[batch.scored] = x_hat.to(value.dtype)
            loss = self._loss(self.stream.resume(clean, target, value, self.site), batch)
            error = Moments.of(x_hat.double() - x)
            self.tally.add_arm((source, target, arm, batch.dataset), loss, error)
        active, active_after = before.f > 0, after.f > 0
        for arm, transport in transports.items():
            joint = joint_activity(active, active_after, transport.permutation)
            self.tally.add_joint((source, target, arm, batch.dataset), joint)

    def _loss(self, last_residual: Float[Tensor, "batch seq d_in"], batch: TokenBatch) -> LossSum:
        losses = self.stream.next_token_losses(last_residual, batch.input_ids)
        predictions = _predictions(batch)
        return LossSum(float(losses[predictions].double().sum()), int(predictions.sum()))

    def _open_fitting(self, layer: int) -> SAE:
        if not 0 <= layer < self.stream.n_layers:
            raise UserError(f"an SAE is given for layer {layer}, the model has layers 0 to {self.stream.n_layers - 1}")
        sae = self.collection.open(layer)
        width = self.stream.width(self.site)
        if sae.d_in != width:
            raise UserError(f"SAE of layer {layer} reads width {sae.d_in}, the model's {self.site} has {width}")
        return sae

    def _matching(self, pair: Pair, arm: str) -> Matching:
        source, target = self.saes[pair[0]], self.saes[pair[1]]
        if source.d_sae != target.d_sae:
            raise UserError(
                f"layers {pair[0]} and {pair[1]}: the source has {source.d_sae} features and the target "
                f"{target.d_sae}; a validation compares SAEs of one width"
            )
        if arm == IDENTITY:
            return baselines.identity(source)
        if arm == RANDOM:
            return baselines.random(source, seed=self.seed + pair[0])
        return match_layers(
            pair,
            source,
            target,
            replace(self.matcher, fold=self._fold(arm)),
            collection=self.collection,
            cache=self.cache,
            watch=self.watch,
        )

    def _evidence(self, pair: Pair) -> str:
        """What is proven about the pair's matching, for the log."""
        matching = self.matchings.get((pair, MATCHED))
        if matching is None:
            return ""
        return f": cost {matching.cost:.6g}, proven to be the optimum to within {matching.gap:.0e} of it"

    def _save_matching(self, pair: Pair) -> None:
        if (pair, MATCHED) in self.matchings and self.trainer.is_global_zero:
            save_matching(self.matchings[pair, MATCHED], self.folder, pair, self.collection)

    def _fold(self, arm: str) -> Fold:
        """What values are rescaled by under an arm; the baselines stay folded whatever the matcher."""
        if arm == MATCHED_UNFOLDED:
            return "none"
        if arm in (IDENTITY, RANDOM) and self.matcher.fold == "none":
            return natural_fold(self.saes[self.pairs[0][0]])
        return cast(Fold, self.matcher.fold)

    def _matching_arms(self) -> Iterator[str]:
        return (arm for arm in self.arms if arm in MATCHING_ARMS)


def _predictions(batch: TokenBatch) -> Bool[Tensor, "batch predictions"]:
    """Positions whose prediction counts: an arm stands in there, and the next token is no padding."""
    return batch.scored[:, :-1] & batch.scored[:, 1:]
