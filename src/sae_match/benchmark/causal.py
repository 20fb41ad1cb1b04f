"""Features switched off, beside the same written down plainly: hooks on the model, one forward a feature and batch."""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from sae_match import bundled
from sae_match.benchmark.evaluation import validated
from sae_match.benchmark.measuring import Case, Figure
from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.causal.divergence import kl_divergence
from sae_match.evaluation.causal.effects import Effects
from sae_match.evaluation.causal.measures import FEWEST_TOKENS, of_features
from sae_match.evaluation.causal.sample import ARMS, NEAREST_OTHER, Sample
from sae_match.evaluation.causal.settings import CausalSettings
from sae_match.evaluation.causal.switching import Switching
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.validation import MatchValidation
from sae_match.model.anatomy import Anatomy
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch

_DOCUMENTS, _FEATURES, _PAIRS = 16, 12, [[1, 2], [4, 5]]
_NAME = f"the bundled model, {_FEATURES} features of each of {len(_PAIRS)} pairs, {_DOCUMENTS} documents"


def cases() -> dict[str, Case]:
    """Every case by name."""
    return {"causal": causal}


def causal() -> list[Figure]:
    """Numbers and time of the causal check beside a naive one."""
    settings = EvaluationSettings(
        arms=[MATCHED], pairs=_PAIRS, rotations=0, causal=CausalSettings(_FEATURES, _DOCUMENTS)
    )
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        module, data = validated(Path(folder), _DOCUMENTS, settings)
        start = time.perf_counter()
        effects = _again(module, data.batches)
        ours = time.perf_counter() - start
        start = time.perf_counter()
        expected = {pair: _naively(module, pair, sample, data.batches) for pair, (sample, _) in effects.items()}
        naive = time.perf_counter() - start
    off = max(_differences(*effects[pair], found) for pair, found in expected.items())
    return [
        Figure(_NAME, "largest difference from a naive implementation", off, "", 1e-5),
        Figure(_NAME, f"time of the naive one, {naive:.3g} s, over ours", naive / ours, "x", 5.0, True),
    ]


def _again(module: MatchValidation, batches: Sequence[TokenBatch]) -> dict[Pair, tuple[Sample, Effects]]:
    """The pass once more, all of it."""
    found = {pair: (sample, Effects(len(sample), sample.width)) for pair, (sample, _) in module.state.causal.items()}
    datasets = list(module.state.layout.datasets)
    for batch in batches:
        at = BatchMeasurement.captured(module.subject, batch, list(found))
        for sample, effects in found.values():
            Switching(at, sample, datasets, module.settings.seed).add_to(effects)
    return found


@dataclass(frozen=True)
class _Off:
    """What is left of a batch: residuals after every layer, and what the next token's distribution lost."""

    residuals: Mapping[int, Tensor]
    divergence: Tensor


class _Naive:
    """A batch of the plain model."""

    def __init__(self, model: nn.Module, layers: nn.ModuleList, batch: TokenBatch) -> None:
        self.model, self.layers, self.batch = model, layers, batch
        self.clean, self.logits = self._run({})

    def _run(self, replaced: Mapping[int, Tensor]) -> tuple[dict[int, Tensor], Tensor]:
        residuals: dict[int, Tensor] = {}

        def look(layer: int) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
                residuals[layer] = replaced.get(layer, output)
                return residuals[layer]

            return hook

        handles = [module.register_forward_hook(look(layer)) for layer, module in enumerate(self.layers)]
        mask = self.batch.attention_mask.long()
        logits = self.model(input_ids=self.batch.input_ids, attention_mask=mask, use_cache=False).logits
        for handle in handles:
            handle.remove()
        return residuals, logits

    def features(self, sae: SAE, x: Tensor) -> Tensor:
        return sae.encode(x) * self.batch.scored[..., None]

    def off(self, sae: SAE, layer: int, feature: int) -> _Off:
        x = self.clean[layer]
        value = self.features(sae, x)[..., feature, None]
        residuals, logits = self._run({layer: x - value * sae.W_dec[feature]})
        return _Off(residuals, kl_divergence(self.logits, logits))


def _naively(
    module: MatchValidation, pair: Pair, sample: Sample, batches: Sequence[TokenBatch]
) -> dict[tuple[str, int], tuple[float, float]]:
    """Carried activation and effect agreement of every feature, of two arms."""
    plain = AutoModelForCausalLM.from_pretrained(
        bundled.path("model"), dtype=torch.float32, attn_implementation="eager"
    ).eval()
    layers = Anatomy.of(plain).layers
    source, target = (module.open_sae(layer) for layer in pair)
    texts = [_Naive(plain, layers, batch) for batch in batches]
    arms = (MATCHED, NEAREST_OTHER)
    found = {}
    for at, feature in enumerate(sample.features.tolist()):
        sums = {arm: [0.0, 0.0] for arm in arms}
        effects: dict[str, list[Tensor]] = {arm: [] for arm in arms}
        for text in texts:
            before = text.features(source, text.clean[pair[0]])
            after = text.features(target, text.clean[pair[1]])
            on = before[..., feature] > 0
            here = on.any(1)[:, None]
            gone = text.off(source, pair[0], feature)
            changed = text.features(target, gone.residuals[pair[1]])
            for arm in arms:
                partner = int(sample.partners[arm][at])
                both = on & (after[..., partner] > 0)
                sums[arm][0] += float(after[..., partner][both].double().sum())
                sums[arm][1] += float(changed[..., partner][both].double().sum())
                either = (on | (after[..., partner] > 0)) & here
                other = text.off(target, pair[1], partner)
                effects[arm].append(torch.stack([gone.divergence[either], other.divergence[either]]))
        for arm in arms:
            pairs = torch.cat(effects[arm], 1)
            enough = pairs.shape[1] >= FEWEST_TOKENS and bool((pairs.std(1) > 0).all())
            agreement = float(torch.corrcoef(pairs)[0, 1]) if enough else math.nan
            carried = 1 - sums[arm][1] / sums[arm][0] if sums[arm][0] else math.nan
            found[arm, at] = carried, agreement
    return found


def _differences(sample: Sample, effects: Effects, expected: Mapping[tuple[str, int], tuple[float, float]]) -> float:
    """The largest difference of any number; infinite where one of both has none."""
    found, worst = of_features(sample, effects), 0.0
    for (arm, at), numbers in expected.items():
        column = ARMS.index(arm)
        for ours, theirs in zip((found.carried[at, column], found.agreement[at, column]), numbers, strict=True):
            if math.isnan(theirs) != bool(ours.isnan()):
                return math.inf
            worst = max(worst, 0.0 if math.isnan(theirs) else abs(float(ours) - theirs))
    return worst
