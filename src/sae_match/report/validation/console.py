"""What a validation prints: its plan before it starts, its results and files at the end."""

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch.loggers import Logger
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from sae_match.evaluation.arm_names import CLEAN, COACTIVATION, MATCHED
from sae_match.evaluation.causal.settings import said_of
from sae_match.evaluation.cautions import Caution, cautions_before, named_l0s
from sae_match.evaluation.passes.costs import several
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.statistics.differences import Difference
from sae_match.evaluation.statistics.results import Results, SpanResult
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.significance.settings import rows_of
from sae_match.matching.solver.planning import GIGABYTE
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.two.streams import Streams, TwoStreams
from sae_match.report.console import collection_line, matcher_line, model_line, print_rows
from sae_match.report.tables import CHANGE, FORMS, by_pair, changes, clean_loss, distance_of, ladder
from sae_match.report.tracking.logger import where_to_look
from sae_match.terminal import say

# What a validation leaves, most of it only where there is something to put into it.
_FILES = (
    "report.html",
    "report/",
    "results.csv",
    "spans.csv",
    "differences.csv",
    "replicates.safetensors",
    "warnings.csv",
    "unmatched.csv",
    "splits.csv",
    "lives.csv",
    "figures/*",
    "pairs/*.parquet",
    "drift/*.parquet",
    "causal/*.parquet",
    "features/*.parquet",
    "matchings/*.safetensors",
    "significance/*.safetensors",
    "relations/*",
    "provenance/*",
)
_CHANGES = (
    "\nExplained share of what the layers change (0: as leaving them out); more than matched\n"
    "on the same documents (~: may be none)"
)
_APART = "\nMore than matched on the same documents (~: may be none)"
# Bytes for a hundred features that are active on a token of a layer.
_ACTIVE = 400
# Width of a table's first column, and of the others.
_ARM, _PAIR = 20, 8


def print_plan(
    console: Console,
    module: MatchValidation,
    text: ValidationText,
    model_source: str | tuple[str, str],
    device: torch.device,
) -> None:
    """Model, SAEs, pairs, arms and text of the validation that is about to run, and what it takes."""
    stream, scope, plan = module.stream, module.scope, module.plan()
    sae = module.collection.open(module.collection.ends(scope.pairs[0])[0])
    tokens = ", ".join(f"{count:,} of {name}" for name, count in text.evaluated.tokens().items())
    rows = {
        **_models(stream, model_source, device),
        "SAEs": f"{module.collection.source} ({len(scope.layers)} layers, {sae.d_sae:,} features, {sae.activation})",
        **_two(module),
        "pairs": f"{len(scope.pairs)}: {', '.join(f'{source}→{target}' for source, target in scope.pairs)}",
        "matcher": matcher_line(module.matcher),
        "arms": ", ".join((CLEAN, *dict.fromkeys(arm for _, arm in plan.runs()))) + _twins(module),
        "tokens": f"{tokens} ({text.evaluated.settings.documents} documents each)",
        "passes": f"{plan.layer_forwards:,} layer-forwards and {plan.heads:,} heads for each token",
    }
    if (rotations := module.settings.random_targets) and MATCHED in scope.arms:
        rows["judged"] = (
            f"{MATCHED}, against {rotations} random targets for each pair of layers{_sampled(sae.d_sae)}, and by "
            "encoders and decoders alone"
        )
    if module.settings.relations:
        held = len(scope.ends) * sum(text.evaluated.tokens().values()) * _ACTIVE
        rows["related"] = (
            "what split, merged, appeared or ended, and what relatives do on the text; where features are active is "
            f"held: {held / GIGABYTE:.2g} GB for each 100 that are on a token"
        )
    rows |= dict(said_of(module.settings.causal, scope.pairs, stream.n_layers, len(text.evaluated.tokens())))
    if alone := module.collection.left_out(scope.pairs):
        why = "in no pair" if scope.apart or module.settings.pairs else "no other layer at these distances has an SAE"
        rows["left out"] = f"{alone}: {why}"
    if text.fitting is not None and module.needs_fitting:
        fitted = sum(text.fitting.tokens().values())
        rows["fitting"] = (
            f"{', '.join(scope.fitted)} on {fitted:,} other tokens, one clean pass{_held(module, sae.d_sae)}"
        )
    print_rows(console, "Plan", rows)
    print_cautions(console, cautions_before(named_l0s(module.collection), scope.pairs, module.collection.names))


def facts(module: MatchValidation, text: ValidationText, model_source: str | tuple[str, str]) -> dict[str, str]:
    """What a finished run was of, in a few words."""
    tokens = ", ".join(f"{count:,} of {name}" for name, count in text.evaluated.tokens().items())
    return {
        "model": model_line(model_source),
        "SAEs": f"{collection_line(module.collection)}, {len(module.scope.layers)} layers",
        "matcher": matcher_line(module.matcher),
        "text": f"{tokens} tokens",
    }


def print_results(
    console: Console, results: Results, spans: Sequence[SpanResult], differences: Sequence[Difference] = ()
) -> None:
    """The ladders of each dataset, how arms differ from `matched`, and explained variance by pair of layers."""
    for dataset in results.distinct("dataset"):
        clean = f": clean loss {clean_loss(results, dataset):.3f} nats per token"
        say(console, (f"\n{dataset}", "bold"), clean)
        for span in sorted({row.span for row in spans}):
            chosen = [row for row in spans if row.dataset == dataset and row.span == span]
            far = distance_of(span)
            over = several(max(row.pairs for row in chosen), "pair")
            say(console, (f"\nMeans over {over} of {far}, with 95 % intervals over documents", "italic"))
            console.print(ladder(chosen))
            if further := {
                metric: title for metric, title in FORMS.items() if any(row.metric == metric for row in chosen)
            }:
                console.print(
                    "\nOther scales: every dimension alike, behind the next norm, loss of the mean",
                    style="italic",
                    highlight=False,
                )
                console.print(ladder(chosen, further))
            apart = [row for row in differences if row.source_layer is None]
            apart = [row for row in apart if (row.dataset, row.span, row.than) == (dataset, span, MATCHED)]
            if (table := changes(chosen, apart)) is not None:
                title = _CHANGES if any(row.metric in CHANGE for row in chosen) else _APART
                console.print(title, style="italic", highlight=False)
                console.print(table)
        say(console, (f"\nexplained_variance on {dataset} by pair of layers", "italic"))
        for table in by_pair(results, "explained_variance", dataset, max(1, (console.width - _ARM) // _PAIR)):
            console.print(table)


def print_cautions(console: Console, cautions: Sequence[Caution]) -> None:
    """What should make one wary, and what to do about it; nothing where nothing should."""
    if cautions:
        say(console, ("\nWarnings", "bold"))
    for one in cautions:
        console.print(Padding(Text(f"{one.says} {one.do}"), (0, 0, 0, 2)))


def print_files(console: Console, folder: Path, logger: Logger | None) -> None:
    """Where the files of a run are, and its numbers at W&B."""
    say(console, ("\nFiles", "bold"), f" in {folder}")
    files = (pattern for pattern in _FILES if any(folder.glob(pattern)))
    say(console, f"  {', '.join(files)}, .hydra/")
    if (line := where_to_look(logger)) is not None:
        say(console, f"  W&B: {line}")


def _models(stream: Streams, source: str | tuple[str, str], device: torch.device) -> dict[str, str]:
    """The language model, or the two, in a line of the plan each."""
    if isinstance(stream, TwoStreams):
        first, second = (source, source) if isinstance(source, str) else source
        what = "read by the target's SAEs; goes on from every stand-in"
        return {
            "model": f"{_model(stream.source, first, device)}, read by the source's SAEs",
            "target model": f"{_model(stream.target, second, device)}, {what}",
        }
    return {"model": _model(stream, source if isinstance(source, str) else source[0], device)}


def _model(stream: ResidualStream, source: str, device: torch.device) -> str:
    dtype = str(next(stream.parameters()).dtype).removeprefix("torch.")
    return f"{source} ({stream.n_layers} layers, d = {stream.d_in}, {dtype}, on {device})"


def _two(module: MatchValidation) -> dict[str, str]:
    """What two collections are called, in a line of the plan; nothing of one."""
    names = module.collection.names
    if names is None:
        return {}
    target = module.collection.open(module.collection.ends(module.scope.pairs[0])[1])
    residuals = "on the same residuals" if module.scope.widths is None else "each on its own model's residuals"
    return {"from, to": f"{names[0]} → {names[1]} ({target.d_sae:,} features, {target.activation}), {residuals}"}


def _held(module: MatchValidation, features: int) -> str:
    """Memory for the co-activations of a pair of layers, at most, where they are counted."""
    if COACTIVATION not in module.scope.arms:
        return ""
    return f"; co-activations of a pair, kept sparse, take {8 * features**2 / GIGABYTE:.2g} GB at most"


def _sampled(features: int) -> str:
    """How many features look for a partner in each random target, where not all do."""
    return "" if (rows := rows_of(features)) is None else f" ({rows:,} of {features:,} features each)"


def _twins(module: MatchValidation) -> str:
    """Arms that are measured under another name."""
    return "".join(f"; {arm} is {twin}, as the matcher does not fold" for arm, twin in module.scope.twins.items())
