"""What a training of SAEs prints: its plan before it starts, what the SAEs are like at the end."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import torch
from rich.console import Console
from rich.table import Table

from sae_match.evaluation.cautions import LARGEST_DIMENSION, MOST_DEAD
from sae_match.saes.manifest import NAME
from sae_match.terminal import say
from sae_match.training.finished import Finished
from sae_match.training.sae_recipe import SAERecipe
from sae_match.training.sae_settings import SAETrainingSettings, blocks_of, buffer_bytes, steps_of

_GIGABYTE = 10**9
#: Float32 values of each parameter: itself, its gradient and Adam's two moments.
_COPIES = 4
# When to warn, besides what a validation warns of.
_LEAST_EXPLAINED, _MOST_OFF = 0.4, 1.5


def print_plan(console: Console, recipe: SAERecipe, device: torch.device) -> None:
    """Model, layers, text, memory and where the training goes on from."""
    say(console, ("Plan", "bold"))
    for name, value in _plan(recipe, device):
        say(console, f"  {name:<11} {value}")


def print_results(console: Console, recipe: SAERecipe, done: Finished, wandb: str | None) -> None:
    """What each SAE does on held-out text, where its file is, how it is used, and what is wrong with it."""
    destination = recipe.destination
    tokens = next(iter(done.values())).tokens
    say(console, (f"\nOn {tokens:,} held-out tokens", "italic"))
    console.print(_table(done, recipe.settings))
    if any(found.extreme for found in done.values()):
        left_out = (
            "Tokens of extreme norm, whose like training leaves out, count in L0, normed, dead and the last number"
        )
        say(console, (left_out, "italic"))
    for line in doubts(done, recipe.settings):
        say(console, ("warning", "yellow"), f" {line}")
    say(console, ("\nFiles", "bold"), f" in {destination}")
    say(console, f"  layer_*/ (Gemma Scope's layout), sae_lens/layer_*/ (SAELens'), {NAME}")
    chosen = f"sae=folder sae.source={destination}"
    for command in (f"match.py {chosen}", f"validate.py {chosen} model=local model.source={recipe.model_name}"):
        say(console, f"  python scripts/{command}")
    say(console, "  with the same text=… as here, if it was not the default")
    if wandb is not None:
        say(console, f"  W&B: {wandb}")


def _table(done: Finished, settings: SAETrainingSettings) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    further = ("extreme tokens", "with them") if any(found.extreme for found in done.values()) else ()
    headings = ("layer", "L0 aimed at", "L0", "explained variance", "by dimension", "normed", "dead", *further, "file")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "file" else "right", overflow="fold")
    for (layer, found), aim in zip(done.items(), settings.l0, strict=True):
        normed = "-" if found.explained_variance_normed is None else f"{found.explained_variance_normed:.3f}"
        usual = (f"{found.explained_variance_usual:.3f}", f"{found.explained_variance_by_dimension_usual:.3f}", normed)
        numbers = (f"{aim:g}", f"{found.l0:.2f}", *usual, str(found.dead))
        whole = (str(found.extreme), f"{found.explained_variance:.3f}") if further else ()
        table.add_row(str(layer), *numbers, *whole, str(PurePosixPath(found.file).parent))
    return table


def _plan(recipe: SAERecipe, device: torch.device) -> Iterator[tuple[str, str]]:
    settings, stream = recipe.settings, recipe.stream
    layers, d_in, d_sae = settings.layers, recipe.d_in, settings.d_sae
    blocks = blocks_of(settings, d_in)
    dtype = str(next(stream.parameters()).dtype).removeprefix("torch.")
    yield "model", f"{recipe.model_name} ({stream.n_layers} layers, d = {stream.d_in}, {dtype}, on {device})"
    yield "layers", ", ".join(map(str, layers))
    if settings.site != "residual":
        yield "site", f"{settings.site}, {d_in} dimensions"
    aims = [f"{aim:g}" for aim in settings.l0]
    yield "SAEs", f"{d_sae:,} features, L0 {', '.join(aims if len(set(aims)) > 1 else aims[:1])}"
    yield "text", f"{blocks.tokens:,} tokens of {', '.join(recipe.text.datasets)}, in crops of {settings.context}"
    yield (
        "training",
        f"{steps_of(settings):,} steps of {settings.batch:,} activations of each layer, learning rate "
        f"{settings.learning_rate:.2g}",
    )
    parameters = _COPIES * 4 * len(layers) * (2 * d_in * d_sae + 2 * d_sae + d_in)
    yield "parameters", f"{parameters / _GIGABYTE:.2g} GB with gradients and optimiser"
    held = blocks.at(0).activations
    times = f", filled {blocks.number:,} times" if blocks.number > 1 else ""
    yield "buffer", f"{buffer_bytes(settings, d_in) / _GIGABYTE:.2g} GB: {held:,} activations of each layer{times}"
    if (checkpoint := recipe.checkpoints().found()) is not None:
        yield "goes on", f"from {checkpoint}"


def doubts(done: Finished, settings: SAETrainingSettings) -> Iterator[str]:
    """What should keep one from using SAEs as they are, a line for each kind."""
    dead = [layer for layer, found in done.items() if found.dead > MOST_DEAD * found.features]
    if dead:
        yield (
            f"layers {_named(dead)}: more than {MOST_DEAD:.0%} of the features are never active; train on more tokens "
            "(training.tokens, training.steps), or with fewer features (training.d_sae)"
        )
    poor = [layer for layer, found in done.items() if found.explained_variance_by_dimension_usual < _LEAST_EXPLAINED]
    if poor:
        yield (
            f"layers {_named(poor)}: explain less than {_LEAST_EXPLAINED:g} of the variance by dimension; train longer "
            "(training.tokens, training.steps), or allow more active features (training.l0)"
        )
    off = [
        layer
        for (layer, found), aim in zip(done.items(), settings.l0, strict=True)
        if not aim / _MOST_OFF <= found.l0 <= aim * _MOST_OFF
    ]
    if off:
        yield f"layers {_named(off)}: the L0 is far from the one that was aimed at; train longer (training.steps)"
    owned = [layer for layer, found in done.items() if found.largest_dimension > LARGEST_DIMENSION]
    if owned:
        yield (
            f"layers {_named(owned)}: one dimension has more than {LARGEST_DIMENSION:.0%} of the variance; look at the "
            "explained variance by dimension"
        )


def _named(layers: list[int]) -> str:
    return ", ".join(map(str, layers))
