"""The two trainings from text to files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.formats import gemma_scope
from sae_match.saes.sae import SAE
from sae_match.training.activations import collect_residuals
from sae_match.training.crops import RandomCrops, tokenise
from sae_match.training.language_model import LanguageModelSettings, LanguageModelTraining, gemma_2_config
from sae_match.training.sae_training import ActivationBatches, SAETraining, SAETrainingSettings
from sae_match.training.tokenizer import train_tokenizer

log = logging.getLogger(__name__)
Texts = Mapping[str, Sequence[str]]

_CROPS_PER_PASS = 64
_HELD_OUT_CROPS = 256
_HELD_OUT_TOKENS = 200_000


def train_language_model(
    settings: LanguageModelSettings, training: Texts, held_out: Texts, trainer: L.Trainer, destination: Path
) -> None:
    """Train a tokenizer and a Gemma 2 on `training` and write both to `destination`, in bfloat16."""
    refuse_not_positive(settings, "layers", "batch", "steps", "learning_rate", "context", "vocabulary")
    tokenizer = train_tokenizer((text for texts in training.values() for text in texts), settings.vocabulary)
    config = gemma_2_config(
        settings, bos=tokenizer.bos_token_id, eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id
    )
    L.seed_everything(settings.seed)
    module = LanguageModelTraining(settings, config)
    crops = _crops(training, tokenizer, settings.context, settings.batch, settings.steps, settings.seed)
    watched = [
        _loader(_crops({name: texts}, tokenizer, settings.context, 64, _HELD_OUT_CROPS // 64, settings.seed))
        for name, texts in held_out.items()
    ]
    trainer.fit(module, _loader(crops), watched)
    module.model.bfloat16().save_pretrained(destination)
    tokenizer.save_pretrained(destination)
    log.info("model and tokenizer written to %s", destination)


def train_saes(
    settings: SAETrainingSettings,
    stream: ResidualStream,
    tokenizer: PreTrainedTokenizerBase,
    training: Texts,
    held_out: Texts,
    trainer: L.Trainer,
    destination: Path,
) -> list[Path]:
    """Train an SAE for each chosen layer and write them to `destination` in Gemma Scope's layout."""
    layers = settings.layers or list(range(stream.n_layers))
    settings = replace(settings, l0=_l0_of(layers, settings, stream.n_layers))
    refuse_not_positive(settings, "d_sae", "tokens", "batch", "steps", "learning_rate", "l0_start", "context")
    stream.to(trainer.strategy.root_device)
    store = collect_residuals(stream, _pass_over(training, tokenizer, settings, settings.tokens), layers)
    mean = torch.stack([layer.float().mean(0) for layer in store])
    scale = torch.stack([layer.float().square().sum(-1).mean().sqrt() for layer in store])
    module = SAETraining(settings, mean.cpu(), scale.cpu(), layers)
    if settings.start_from is not None:
        start = settings.start_from
        which = {layer: gemma_scope.only_one(start, layer, settings.d_sae) for layer in layers}
        module.go_on_from([gemma_scope.load(start, layer=layer, **which[layer]) for layer in layers])
    batches = ActivationBatches(store, batch=settings.batch, steps=settings.steps, seed=settings.seed)
    trainer.fit(module, _loader(batches))
    held_out_store = collect_residuals(stream, _pass_over(held_out, tokenizer, settings, _HELD_OUT_TOKENS), layers)
    return [
        _write(sae, activations, layer, destination)
        for sae, activations, layer in zip(module.saes(), held_out_store, layers, strict=True)
    ]


def refuse_not_positive(settings: LanguageModelSettings | SAETrainingSettings, *names: str) -> None:
    """Refuse a training setting that must be positive and is not."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise UserError(f"training.{name} must be positive, got {getattr(settings, name)}")


def _l0_of(layers: Sequence[int], settings: SAETrainingSettings, n_layers: int) -> list[float]:
    """The aim of each chosen layer: `l0` has one entry, one a chosen layer, or one a layer of the model."""
    if not set(layers) <= set(range(n_layers)):
        raise UserError(f"training.layers must lie in 0 … {n_layers - 1}, got {layers}")
    l0 = settings.l0
    if len(l0) == n_layers:
        l0 = [l0[layer] for layer in layers]
    if len(l0) not in (1, len(layers)):
        raise UserError(f"training.l0 needs one entry, one a chosen layer or one a layer of the model, got {l0}")
    if not all(0 < aim < settings.d_sae for aim in l0):
        raise UserError(f"training.l0 must lie between 0 and d_sae = {settings.d_sae}, got {l0}")
    return list(l0)


def _write(sae: SAE, held_out: torch.Tensor, layer: int, destination: Path) -> Path:
    active = sae.to(held_out.device).encode(held_out.float()) > 0
    l0 = float(active.sum() / len(active))
    file = gemma_scope.save(sae, destination, layer=layer, width=gemma_scope.width_of(sae.d_sae), l0=round(l0))
    dead = int((~active.any(0)).sum())
    log.info("layer %d: L0 %.2f, %d of %d features never active on held-out text, %s", layer, l0, dead, sae.d_sae, file)
    return file


def _pass_over(
    texts: Texts, tokenizer: PreTrainedTokenizerBase, settings: SAETrainingSettings, tokens: int
) -> RandomCrops:
    batch = _CROPS_PER_PASS - _CROPS_PER_PASS % len(texts)
    steps = -(-tokens // (batch * (settings.context - 1)))
    return _crops(texts, tokenizer, settings.context, batch, steps, settings.seed)


def _crops(
    texts: Texts, tokenizer: PreTrainedTokenizerBase, context: int, batch: int, steps: int, seed: int
) -> RandomCrops:
    corpora = {name: tokenise(works, tokenizer) for name, works in texts.items()}
    bos = int(tokenizer.bos_token_id)
    return RandomCrops(corpora, context=context, batch=batch, steps=steps, bos=bos, seed=seed)


def _loader(batches: IterableDataset[torch.Tensor]) -> DataLoader[torch.Tensor]:
    return DataLoader(batches, batch_size=None)
