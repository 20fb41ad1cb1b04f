"""What a validation would need and take: only metadata is downloaded, and no model is run."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from rich.console import Console

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import FITTED_ARMS, MATCHED, checked_arms
from sae_match.evaluation.cautions import cautions_before, named_l0s
from sae_match.evaluation.passes.beforehand import load_beforehand, memory_beforehand
from sae_match.evaluation.passes.memory import MemoryPlan, size_of
from sae_match.evaluation.plan import Pair, PassPlan, chosen_pairs, measured_arms, speed_of, twins_among, wanted_ends
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.forms import forms_of
from sae_match.evaluation.statistics.layout import Layout
from sae_match.hub import UnansweredError
from sae_match.matching.folding_choice import fold_of
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.settings import BY_PARTS, rows_of
from sae_match.matching.solver.planning import Solver, free_memory, planned
from sae_match.model.description import (
    ModelDescription,
    describe_model,
    refuse_beyond,
    token_troubles,
)
from sae_match.model.gguf.description import describe_gguf
from sae_match.model.gguf.file import is_gguf
from sae_match.model.settings import ModelSettings
from sae_match.saes.formats import SAEDescription, SAEFile
from sae_match.saes.sites import checked_site
from sae_match.saes.two import Collections, layer_of
from sae_match.terminal import say
from sae_match.text.counting import first_documents, token_counter
from sae_match.text.describing import describe
from sae_match.text.settings import TextSettings

# Passes over all pairs that a matching usually takes.
_PASSES = 4
_OF_LAYER = re.compile(r"SAEs: SAE of layer \S+: ")
# What a matching takes however small it is.
_LEAST_SECONDS = 0.1


@dataclass
class Findings:
    """What was found out about a run.

    Attributes:
        rows: Names and values, in the order in which they are shown.
        missing: What stands in the way, one line each.
        plan: What each token takes, where that is known.
        memory: What is held at most, where that is known.
    """

    rows: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    plan: PassPlan | None = None
    memory: MemoryPlan | None = None

    @contextmanager
    def about(self, name: str) -> Iterator[Callable[[str], None]]:
        """Look into something: what is found goes into a row, an error among what is missing."""
        try:
            yield lambda value: self.rows.append((name, value))
        except UserError as error:
            self.missing.append(f"{name}: {error}")


def check(
    model: ModelSettings,
    saes: Collections,
    matcher: MatcherSettings,
    text: TextSettings,
    evaluation: EvaluationSettings,
) -> Findings:
    """Resolve model, SAEs and text, and say what the run would take on this machine."""
    findings, described = Findings(), None
    found: dict[int, _Found] = {}
    with findings.about("model") as say:
        described = describe_gguf(model) if is_gguf(model) else describe_model(model)
        say(
            f"{model.source} ({described.architecture}): {_several(described.n_layers, 'layer')}, "
            f"d = {described.d_in}, {_count(described.parameters)} parameters, "
            f"{size_of(described.bytes)} in {model.dtype}{_to_download(described.missing)}"
        )
    with findings.about("SAEs"):
        for end in wanted_ends(saes, evaluation):
            found.update(_found_of(end, saes, findings))
    if found:
        every = [file for one in found.values() for file in one.files]
        absent = sum(file.bytes for file in every if not file.is_local)
        total = size_of(sum(file.bytes for file in every))
        what = _several(len(found), "SAE" if saes.apart else "layer")
        findings.rows.append(("SAEs", f"{saes.source}: {what}, {total}{_to_download(absent)}"))
    pairs: list[Pair] = []
    with findings.about("pairs"):
        pairs = [pair for pair in chosen_pairs(saes, evaluation) if set(saes.ends(pair)) <= found.keys()]
    before = cautions_before(named_l0s(saes), pairs, saes.names)
    findings.rows += [("warning", f"{one.says} {one.do}") for one in before]
    fitting = evaluation.fitting_documents if set(checked_arms(evaluation.arms)) & set(FITTED_ARMS) else 0
    count = token_counter(Path(model.location)) if described is not None else None
    for name, source in text.datasets.items():
        with findings.about(f"text {name}") as say:
            origin = describe(source)
            size = "" if origin.bytes is None else f", {size_of(origin.bytes)}; only what is used is read"
            say(f"{origin.where}: {_several(origin.files, 'file')}{size}")
            if source.kind != "hub":
                read = first_documents(name, source, text, fitting, count)
                findings.rows.append(("documents", f"{name}: {read}"))
    if described is not None:
        _judge_text(findings, described, text)
        if not is_gguf(model):
            _judge_tokens(findings, model, described.vocabulary, text.bos)
    fold, note = fold_of(matcher.fold, {saes.end_name(end): one.described.has_thresholds for end, one in found.items()})
    matcher = replace(matcher, fold=fold)
    findings.rows += [("folding", note)] if note is not None else []
    if described is not None and found:
        _judge_fit(findings, described, saes, found)
        with findings.about("plan"):
            arms = measured_arms(evaluation, pairs, saes.apart)
            twins = twins_among(arms, matcher.fold, evaluation.carry)
            measured = [arm for arm in arms if arm not in twins]
            plan = PassPlan(described.n_layers, pairs, measured, reruns_target=saes.site != "residual")
            device, d_in = _device(), _width(described, saes)
            features = {layer: one.features(d_in) for layer, one in found.items()}
            findings.rows += _costs(described, features, matcher, text, plan, evaluation.rotations, device, d_in)
            layout = Layout(pairs, arms, list(text.datasets), d_in, features, twins, forms_of(True), saes.apart)
            load = load_beforehand(described, model.attention, layout, measured, text)
            findings.plan, findings.memory = plan, memory_beforehand(load, evaluation.memory, device)
            free = size_of(free_memory(device))
            findings.rows.append(("memory", f"{findings.memory.said()}; free on {device}: {free}"))
    return findings


def print_findings(console: Console, findings: Findings) -> None:
    """The rows, and what is missing."""
    say(console, ("Check", "bold"), ": nothing was downloaded but metadata")
    width = max((len(name) for name, _ in findings.rows), default=0)
    for name, value in findings.rows:
        say(console, f"  {name:<{width}}  {value}")
    for line in _told_once(findings.missing):
        say(console, "  ", ("missing", "red"), f"  {line}")
    say(console, "  everything is there" if not findings.missing else "")


def _told_once(lines: Sequence[str]) -> list[str]:
    """Lines of which those that differ in the layer alone are one."""
    alike: dict[str, list[str]] = {}
    for line in lines:
        found = _OF_LAYER.match(line)
        alike.setdefault(line if found is None else line[found.end() :], []).append(line)
    more = {one[0]: len(one) - 1 for one in alike.values()}
    return [
        line + (f" (and {_several(number, 'more layer')} alike)" if number else "") for line, number in more.items()
    ]


@dataclass(frozen=True)
class _Found:
    """The SAE of a layer: its files, and what they say it is."""

    files: list[SAEFile]
    described: SAEDescription

    def features(self, d_in: int) -> int:
        """Number of features; where nothing says it, by two float32 matrices, which make nearly all of the files."""
        return self.described.d_sae or sum(file.bytes for file in self.files) // (4 * (2 * d_in + 2))


def _found_of(end: int, saes: Collections, findings: Findings) -> dict[int, _Found]:
    try:
        return {end: _Found(saes.files(end), saes.describe_sae(end))}
    except UnansweredError:
        raise
    except UserError as error:
        findings.missing.append(f"SAEs: {error}")
        return {}


def _judge_text(findings: Findings, model: ModelDescription, text: TextSettings) -> None:
    with findings.about("text"):
        refuse_beyond(model.positions, text.max_tokens)
    if model.has_bos is False and text.bos is None:
        findings.missing.append("text: the tokenizer has no BOS token; name a token to use in its place with text.bos")


def _judge_tokens(findings: Findings, model: ModelSettings, rows: int, bos: str | None) -> None:
    with findings.about("text"):
        missing, warned = token_troubles(model, rows, bos)
        findings.missing += [f"text: {line}" for line in missing]
        findings.rows += [("warning", line) for line in warned]


def _judge_fit(findings: Findings, model: ModelDescription, saes: Collections, found: Mapping[int, _Found]) -> None:
    beyond = sorted({layer_of(end) for end in found if layer_of(end) >= model.n_layers})
    if beyond:
        findings.missing.append(f"layers {beyond}: the model has layers 0 to {model.n_layers - 1}")
    width = model.widths.get(checked_site(saes.site))
    for end, one in found.items():
        d_in, layer = one.described.d_in, saes.end_name(end)
        if None not in (d_in, width) and d_in != width:
            findings.missing.append(f"SAE of layer {layer} reads width {d_in}, the model's {saes.site} has {width}")


def _costs(
    model: ModelDescription,
    features: Mapping[int, int],
    matcher: MatcherSettings,
    text: TextSettings,
    plan: PassPlan,
    rotations: int,
    device: torch.device,
    d_in: int,
) -> Iterator[tuple[str, str]]:
    pairs = plan.pairs
    tokens = text.documents * text.max_tokens * len(text.datasets)
    operations = plan.floating_point_operations(model, features, tokens)
    yield "pairs", f"{len(pairs)}, {_several(len(plan.runs()), 'arm')} of them in all"
    each = f"{_several(text.documents, 'document')} of {_several(text.max_tokens, 'token')}"
    yield "tokens", f"{tokens:,} at most ({each} of each dataset)"
    forwards, heads = _several(plan.layer_forwards, "layer-forward"), _several(plan.heads, "head")
    yield "passes", f"{forwards} and {heads} for each token"
    widest = max(features.values())
    if pairs:
        solver = planned(
            widest,
            widest,
            2 * d_in + 1,
            solver=cast(Solver, matcher.solver),
            precision=matcher.precision,
            memory=matcher.memory,
            device=device,
        )
        products = _PASSES * 2.0 * widest**2 * (2 * d_in) / speed_of(device, torch.bfloat16)
        matching = len(pairs) * max(_LEAST_SECONDS, products)
        yield "matching", f"{_duration(matching)} for each kind that is not in the cache ({solver.solver} solver)"
        if rotations and MATCHED in plan.arms:
            yield "judging", judging_line(rotations, widest, matching)
    dtype = torch.bfloat16 if model.bytes_per_parameter == 2 else torch.float32
    seconds = operations / speed_of(device, dtype)
    yield "validation", f"{_duration(seconds)} at the speed of bare matrix products on {device}"


def judging_line(rotations: int, features: int, matching: float) -> str:
    """What it takes to tell which pairs are matches.

    Args:
        rotations: Random targets for each pair of layers.
        features: Of the widest dictionary.
        matching: Seconds that one matching of every pair of layers takes.
    """
    rows = rows_of(features)
    share = 1.0 if rows is None else rows / features
    sampled = "" if rows is None else f", {rows:,} of {features:,} features for each"
    took = _duration((rotations * share + BY_PARTS) * matching)
    return (
        f"{took} more for what is not in the cache: {_several(rotations, 'random target')} for each pair of layers"
        f"{sampled}, and {BY_PARTS} matchings by parts"
    )


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _width(model: ModelDescription, saes: Collections) -> int:
    """Width of the SAEs' site.

    Raises:
        UserError: If the model has none.
    """
    site = checked_site(saes.site)
    if site not in model.widths:
        raise UserError(f"{model.architecture} has no site {site!r}; it has {', '.join(model.widths)}")
    return model.widths[site]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e8 else f"{number / 1e6:.2f} million"


def _to_download(size: int) -> str:
    return f", {size_of(size)} to download" if size else ", on this machine"
