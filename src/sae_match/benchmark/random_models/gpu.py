"""What is measured on the day a CUDA device is there: one short run, each case of which may fail by itself."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn

from sae_match.benchmark.evaluation import bare_seconds, processes, relative_difference, seconds, validated
from sae_match.benchmark.matching import planted
from sae_match.benchmark.measuring import Case, Figure, wait_for
from sae_match.benchmark.random_models.made_up import Scale, made_up, random_model, text_of
from sae_match.evaluation.arm_names import LAYER_DROP, MATCHED, MATCHED_UNFOLDED, RECONSTRUCT_TARGET
from sae_match.evaluation.plan import PassPlan
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.results import Results
from sae_match.matching.solver.planning import GIGABYTE
from sae_match.model.by_class import sizes_of
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.sizes import LOGIT_BLOCK_ELSEWHERE
from sae_match.model.speed.fusing import LARGE, fuse_from
from sae_match.model.two.streams import stream_at
from sae_match.text.batches import TextData

#: Name of all of them together.
GROUP = "gpu"
# The paper: 100 documents of three datasets, cut at 1,024 tokens.
_PROTOCOL_TOKENS = 3 * 100 * 1024
_MOST_SECONDS = 600.0
# What the paper compares; the others are its reviewers' and ours.
_PAPERS = [RECONSTRUCT_TARGET, LAYER_DROP, MATCHED, MATCHED_UNFOLDED]
# Layers that are run by themselves, for so many arms side by side.
_LAYERS, _TIMES = 4, 8
_SIZES = {"gpu_16k": 16_384, "gpu_65k": 65_536, "gpu_131k": 131_072}


def cases(seed: int, validate: Sequence[str]) -> dict[str, Case]:
    """The cases by name, the smallest first; none where there is no CUDA device.

    Args:
        seed: Of all that is drawn.
        validate: Command of a validation, as users run it.
    """
    found: dict[str, Case] = {}
    if torch.cuda.is_available():
        found = {
            "gpu_parts": partial(parts, Scale(), "cuda", seed),
            "gpu_exact": partial(exactness, "gpu"),
            "gpu_paper": partial(gemma, Scale(), "cuda", seed, EvaluationSettings(arms=_PAPERS, rotations=0)),
            "gpu_gemma": partial(gemma, Scale(), "cuda", seed, EvaluationSettings()),
        }
        found |= {name: partial(planted, size, 2304, seed=seed) for name, size in _SIZES.items()}
    if torch.cuda.device_count() > 1:
        found["gpu_processes"] = partial(processes, validate, accelerator="gpu")
    return found


@torch.inference_mode()
def parts(scale: Scale, device_name: str, seed: int) -> list[Figure]:
    """Layers and heads of a random model with and without steps fused, beside their matrix products alone."""
    device = torch.device(device_name)
    stream, batch = random_model(scale, device, seed), text_of(scale, "evaluation").batches[0]
    ids, mask = batch.input_ids.to(device), batch.attention_mask.to(device)
    clean, first = stream.capture(ids, mask), stream.n_layers - 1 - min(_LAYERS, stream.n_layers - 1)
    several, ids = torch.cat([clean.residuals[first]] * _TIMES), ids.repeat(_TIMES, 1)
    last = stream.resume(clean, first, several)
    work: dict[str, Callable[[], object]] = {
        f"{stream.n_layers - 1 - first} layers": lambda: stream.resume(clean, first, several),
        "the head and its losses": lambda: stream.next_token_losses(last, ids),
    }
    products = (partial(_products, stream.layers[first + 1 :], several), partial(_heads, stream, last))
    case, figures = f"random Gemma 2, d = {stream.d_in}, {ids.numel():,} tokens", []
    for (what, done), alone in zip(work.items(), products, strict=True):
        bare, plain, fused = seconds(device, alone), *(_at(entries, device, done) for entries in (math.inf, LARGE))
        figures += [
            Figure(case, f"{what}: products alone", 1e3 * bare, "ms"),
            Figure(case, f"{what}: one step after another", 1e3 * plain, "ms"),
            Figure(case, f"{what}: steps fused", 1e3 * fused, "ms"),
        ]
    return figures


def _at(entries: float | int, device: torch.device, work: Callable[[], object]) -> float:
    fuse_from(entries)
    try:
        # What is compiled is compiled before the clock runs.
        work()
        return seconds(device, work)
    finally:
        fuse_from(LARGE)


def _products(layers: Iterable[nn.Module], x: Tensor) -> None:
    """Every linear map of some layers, on inputs of its width."""
    for module in (module for layer in layers for module in layer.modules() if isinstance(module, nn.Linear)):
        module(x.new_ones(()).expand(*x.shape[:-1], module.in_features).contiguous())


def _heads(stream: ResidualStream, last: Tensor) -> None:
    for some in last.flatten(0, 1).split(LOGIT_BLOCK_ELSEWHERE):
        stream.head(some)


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
    return list(_gemma_figures(scale, stream_at(module.stream, 0), module.plan(), clock.seconds, bare, data, device))


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
