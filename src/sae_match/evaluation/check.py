"""What a validation would need and take: only metadata is downloaded, and no model is run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import FITTED_ARMS, MATCHED, checked_arms
from sae_match.evaluation.causal.settings import refuse_unswitchable, said_of
from sae_match.evaluation.cautions import cautions_before, named_l0s
from sae_match.evaluation.passes.beforehand import load_beforehand, memory_beforehand
from sae_match.evaluation.passes.costs import costs_of, costs_of_matching, several
from sae_match.evaluation.passes.memory import MemoryPlan, size_of
from sae_match.evaluation.plan import Pair, PassPlan, chosen_pairs, measured_arms, twins_among, wanted_ends
from sae_match.evaluation.settings import EvaluationSettings, tells_drift
from sae_match.evaluation.statistics.forms import forms_of
from sae_match.evaluation.statistics.layout import Layout
from sae_match.hub import UnansweredError
from sae_match.matching.folding_choice import fold_of
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.solver.planning import free_memory
from sae_match.model.description import (
    ModelDescription,
    describe_model,
    refuse_beyond,
    token_troubles,
)
from sae_match.model.gguf.description import describe_gguf
from sae_match.model.gguf.file import is_gguf
from sae_match.model.settings import ModelSettings
from sae_match.model.two.names import refuse_same_model
from sae_match.model.two.tokens import refuse_other_files
from sae_match.saes.formats import SAEDescription, SAEFile
from sae_match.saes.formats import describe as describe_source
from sae_match.saes.shelf import refuse_unmeasurable
from sae_match.saes.sites import checked_site
from sae_match.saes.two import Collections, TwoCollections, is_target, layer_of
from sae_match.text.counting import first_documents, token_counter
from sae_match.text.describing import describe
from sae_match.text.settings import TextSettings


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
    target_model: ModelSettings | None = None,
    *,
    measures: bool = True,
) -> Findings:
    """Resolve model, or both, SAEs and text, and say what the run would take on this machine.

    With `measures` off no arm is measured, as where directions are added: of the plan, only matching is said.
    """
    findings = Findings()
    source, described = _both_described(findings, model, target_model)
    found = _find(findings, saes, evaluation)
    if found:
        every = [file for one in found.values() for file in one.files]
        absent = sum(file.bytes for file in every if not file.is_local)
        total = size_of(sum(file.bytes for file in every))
        what = several(len(found), "SAE" if saes.apart else "layer")
        findings.rows.append(("SAEs", f"{saes.source}: {what}, {total}{_to_download(absent)}"))
    pairs: list[Pair] = []
    with findings.about("pairs"):
        pairs = [pair for pair in chosen_pairs(saes, evaluation) if set(saes.ends(pair)) <= found.keys()]
    before = cautions_before(named_l0s(saes), pairs, saes.names)
    findings.rows += [("warning", f"{one.says} {one.do}") for one in before]
    _read_texts(findings, text, evaluation, model if described is not None else None)
    if described is not None:
        for one in {id(one): one for one in (source, described) if one is not None}.values():
            _judge_text(findings, one, text)
        if not is_gguf(model):
            _judge_tokens(findings, model, described.vocabulary, text.bos)
    fold, note = fold_of(matcher.fold, {saes.end_name(end): one.described.has_thresholds for end, one in found.items()})
    matcher = replace(matcher, fold=fold)
    findings.rows += [("folding", note)] if note is not None else []
    if described is not None and source is not None and found:
        for one, is_other in ((source, False), (described, True)) if target_model else ((described, None),):
            _judge_fit(
                findings, one, saes, {end: it for end, it in found.items() if is_other in (None, is_target(end))}
            )
        with findings.about("plan"):
            device, d_in = _device(), _width(described, saes)
            features = {layer: one.features(d_in) for layer, one in found.items()}
            if not measures:
                widest, judged = max(features.values()), evaluation.random_targets
                findings.rows += costs_of_matching(len(pairs), widest, matcher, judged, device, d_in)
                return findings
            tells_drift(evaluation, saes.apart, target_model is not None)
            widths = None if target_model is None else (_width(source, saes), _width(described, saes))
            arms = measured_arms(evaluation, pairs, saes.apart, widths)
            twins = twins_among(arms, matcher.fold, evaluation.carry)
            measured = [arm for arm in arms if arm not in twins]
            findings.rows += _switched(evaluation, saes.site, target_model is not None, arms, pairs, described, text)
            plan = PassPlan(described.n_layers, pairs, measured, saes.site != "residual", two_models=widths is not None)
            findings.rows += costs_of(described, features, matcher, text, plan, evaluation.random_targets, device, d_in)
            sides = (twins, forms_of(True), saes.apart, widths and widths[0])
            layout = Layout(pairs, arms, list(text.datasets), d_in, features, *sides)
            other = source if target_model is not None else None
            load = load_beforehand(described, (target_model or model).attention, layout, measured, text, other)
            findings.plan, findings.memory = plan, memory_beforehand(load, evaluation.memory, device)
            free = size_of(free_memory(device))
            findings.rows.append(("memory", f"{findings.memory.said()}; free on {device}: {free}"))
    return findings


def _both_described(
    findings: Findings, model: ModelSettings, target_model: ModelSettings | None
) -> tuple[ModelDescription | None, ModelDescription | None]:
    """The source's language model and the target's, which may be one; none of what cannot be described."""
    source = _described(findings, "model", model)
    if target_model is None:
        return source, source
    target = _described(findings, "target model", target_model)
    with findings.about("target model") as say:
        refuse_same_model(model, target_model)
        if not refuse_other_files(model, target_model):
            say("whether both read the same tokens is seen when their tokenizers are fetched")
    return source, target


def _read_texts(
    findings: Findings, text: TextSettings, evaluation: EvaluationSettings, model: ModelSettings | None
) -> None:
    """What each dataset has, and whether its first documents are enough; counted as the model's tokenizer does."""
    fitting = evaluation.fitting_documents if set(checked_arms(evaluation.arms)) & set(FITTED_ARMS) else 0
    count = token_counter(Path(model.location)) if model is not None else None
    for name, dataset in text.datasets.items():
        with findings.about(f"text {name}") as say:
            origin = describe(dataset)
            size = "" if origin.bytes is None else f", {size_of(origin.bytes)}; only what is used is read"
            say(f"{origin.where}: {several(origin.files, 'file')}{size}")
            if dataset.kind != "hub":
                read = first_documents(name, dataset, text, fitting, count)
                findings.rows.append(("documents", f"{name}: {read}"))


def _switched(
    evaluation: EvaluationSettings,
    site: str,
    two_models: bool,
    arms: Sequence[str],
    pairs: Sequence[Pair],
    model: ModelDescription,
    text: TextSettings,
) -> list[tuple[str, str]]:
    """What switching features off takes.

    Raises:
        UserError: If it is asked for and cannot be done.
    """
    refuse_unswitchable(evaluation.causal, site, two_models, MATCHED in arms)
    return said_of(evaluation.causal, pairs, model.n_layers, len(text.datasets))


def _described(findings: Findings, name: str, model: ModelSettings) -> ModelDescription | None:
    """What a model is, in a row; none where that cannot be known."""
    described = None
    with findings.about(name) as say:
        described = describe_gguf(model) if is_gguf(model) else describe_model(model)
        say(
            f"{model.source} ({described.architecture}): {several(described.n_layers, 'layer')}, "
            f"d = {described.d_in}, {_count(described.parameters)} parameters, "
            f"{size_of(described.bytes)} in {model.dtype}{_to_download(described.missing)}"
        )
    return described


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
        found = _Found(saes.files(end), saes.describe_sae(end))
        refuse_unmeasurable(saes.end_name(end), found.described.unmeasurable)
        return {end: found}
    except UnansweredError:
        raise
    except UserError as error:
        findings.missing.append(f"SAEs: {error}")
        return {}


def _find(findings: Findings, saes: Collections, evaluation: EvaluationSettings) -> dict[int, _Found]:
    """The SAEs that are asked for, and what else lies in their sources."""
    found: dict[int, _Found] = {}
    with findings.about("SAEs"):
        checked_site(saes.site)
        for end in wanted_ends(saes, evaluation):
            found.update(_found_of(end, saes, findings))
    _look(findings, saes)
    return found


def _look(findings: Findings, saes: Collections) -> None:
    """What lies in the sources, whichever of it is asked for; one that cannot be listed says nothing."""
    for one in (saes.sources, saes.targets) if isinstance(saes, TwoCollections) else (saes,):
        try:
            held = describe_source(one.source, one.revision)
        except UserError:
            continue
        told = "; ".join(f"{name} {value}" for name, value in held.rows().items())
        findings.rows.append(("source", f"{one.source}: {told}"))
        if held.format != one.format:
            findings.rows.append(("warning", f"{one.source} is in the format {held.format}, not in {one.format}"))


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


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e8 else f"{number / 1e6:.2f} million"


def _to_download(size: int) -> str:
    return f", {size_of(size)} to download" if size else ", on this machine"
