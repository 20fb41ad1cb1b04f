"""What a validation prints: its plan before it starts, its results and files at the end."""

from pathlib import Path

import torch
from lightning.pytorch.loggers import Logger
from rich.console import Console

from sae_match.evaluation.arms import CLEAN
from sae_match.evaluation.results import Results
from sae_match.evaluation.validation import MatchValidation
from sae_match.report.tables import clean_loss, ladder
from sae_match.report.wandb_logging import where_to_look
from sae_match.text.batches import TextData


def print_plan(
    console: Console, module: MatchValidation, data: TextData, model_source: str, device: torch.device
) -> None:
    """Model, SAEs, pairs, arms and text of the validation that is about to run."""
    stream, pairs = module.stream, module.pairs
    sae = module.collection.open(pairs[0][0])
    layers = {layer for pair in pairs for layer in pair}
    dtype = str(next(stream.parameters()).dtype).removeprefix("torch.")
    tokens = ", ".join(f"{count:,} of {name}" for name, count in data.tokens().items())
    passes = 1 + len(pairs) * len(module.arms)
    console.print("[bold]Plan[/bold]", highlight=False)
    for name, value in {
        "model": f"{model_source} ({stream.n_layers} layers, d = {stream.d_in}, {dtype}, on {device})",
        "SAEs": f"{module.collection.source} ({len(layers)} layers, {sae.d_sae:,} features, {sae.activation})",
        "pairs": f"{len(pairs)}: {', '.join(f'{source}→{target}' for source, target in pairs)}",
        "matcher": _matcher(module),
        "arms": ", ".join((CLEAN, *module.arms)),
        "tokens": f"{tokens} ({data.settings.documents} documents each)",
        "passes": f"{passes} for each of {len(data.batches)} batches: a clean one, and one for each pair and arm",
    }.items():
        console.print(f"  {name:<8} {value}", highlight=False, soft_wrap=True)


def print_results(console: Console, results: Results, folder: Path, logger: Logger | None) -> None:
    """A table of layers by arms for each metric and dataset, and where the files are."""
    for dataset in results.distinct("dataset"):
        console.print(f"\n[bold]{dataset}[/bold]: clean loss {clean_loss(results, dataset):.3f} nats per token")
        for metric in ("explained_variance", "delta_loss", "matching_score"):
            if len(results.select(metric=metric)):
                console.print(f"\n{metric} on {dataset}", style="italic", highlight=False)
                console.print(ladder(results, metric, dataset))
    console.print(f"\n[bold]Files[/bold] in {folder}", highlight=False, soft_wrap=True)
    console.print("  results.csv, figures/*.png, matchings/*.safetensors, .hydra/", highlight=False)
    if (line := where_to_look(logger)) is not None:
        console.print(f"  W&B: {line}", highlight=False, soft_wrap=True)


def _matcher(module: MatchValidation) -> str:
    settings = module.matcher
    terms = ", ".join(name for name, weight in settings.terms.items() if weight > 0)
    return f"fold {settings.fold}, terms {terms}, {settings.metric}"
