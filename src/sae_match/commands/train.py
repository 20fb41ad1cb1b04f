"""Train SAEs on the residual stream of any causal language model, or the bundled language model."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger

from sae_match.commands.telling import told
from sae_match.commands.trainer import open_trainer
from sae_match.errors import UserError, stopped_while
from sae_match.files import make_writable
from sae_match.model.loading import load_model
from sae_match.model.speed.half import warn_where_half_is_slow
from sae_match.owned import refuse_foreign_files
from sae_match.report.tracking.logger import open_logger, where_to_look
from sae_match.saes.manifest import NAME as MANIFEST
from sae_match.saes.sites import checked_site
from sae_match.settings.schema import TrainSettings
from sae_match.terminal import Terminal
from sae_match.text.batches import training_texts
from sae_match.training.language_model.recipe import train_language_model
from sae_match.training.language_model.settings import LanguageModelSettings
from sae_match.training.progress import TrainingProgress
from sae_match.training.sae_recipe import SAERecipe
from sae_match.training.sae_settings import SAETrainingSettings, settled, steps_of
from sae_match.training.saving import made_by_training
from sae_match.training.tables import print_plan, print_results
from sae_match.version import write_provenance


def main(settings: TrainSettings) -> None:
    """Train SAEs, or the language model, and leave them at the destination."""
    destination = Path(settings.destination)
    try:
        make_writable(destination)
    except OSError as error:
        raise UserError(f"cannot write the destination {destination}: {error.strerror or error}") from error
    made = made_by_training(destination)
    if not (destination / MANIFEST).exists():
        # Nothing is written to a destination whose training is over.
        refuse_foreign_files(made, settings.training.files, "destination")
    made.keep(settings.training.files)
    write_provenance(destination)
    if isinstance(settings.training, SAETrainingSettings):
        _train_saes(settings, settings.training, destination)
    else:
        _train_language_model(settings, settings.training, destination)


def _train_language_model(settings: TrainSettings, training: LanguageModelSettings, destination: Path) -> None:
    texts = training_texts(settings.text.datasets, "training")
    held_out = training_texts(settings.text.datasets, "fitting")
    bars = [RichProgressBar()] if settings.trainer.progress else []
    with open_logger(settings.logger, Path(settings.output_dir), told(settings)) as logger:
        trainer = _trainer(
            settings,
            training.steps,
            logger,
            bars,
            val_check_interval=max(1, training.steps // 10),
            gradient_clip_val=1.0,
            enable_progress_bar=settings.trainer.progress,
        )
        train_language_model(training, texts, held_out, trainer, destination)


def _train_saes(settings: TrainSettings, training: SAETrainingSettings, destination: Path) -> None:
    console = Terminal()
    stream, tokenizer = load_model(settings.model)
    chosen = settled(training, stream.n_layers, stream.width(checked_site(training.site)))
    recipe = SAERecipe(chosen, stream, tokenizer, settings.text, destination, settings.model.source)
    if (done := recipe.finished()) is not None:
        console.print("this training is over already; nothing was done", highlight=False)
        print_results(console, recipe, done, None)
        return
    checkpoints, progress = recipe.checkpoints(), TrainingProgress(console, chosen)
    callbacks: list[L.Callback] = [checkpoints, *([progress] if settings.trainer.progress else [])]
    with open_logger(settings.logger, Path(settings.output_dir), told(settings)) as logger:
        trainer = _trainer(settings, steps_of(chosen), logger, callbacks, enable_progress_bar=False)
        print_plan(console, recipe, trainer.strategy.root_device)
        _warn_of_half_precision(settings, trainer)
        with progress.shown(settings.trainer.progress), stopped_while(lambda: _doing(trainer, chosen)):
            done = recipe.run(trainer, checkpoints, progress.doing)
        print_results(console, recipe, done, where_to_look(logger))


def _warn_of_half_precision(settings: TrainSettings, trainer: L.Trainer) -> None:
    device = trainer.strategy.root_device
    if str(trainer.precision).startswith("bf16"):
        warn_where_half_is_slow(device, f"trainer.precision={trainer.precision}", "trainer.precision=32-true")
    if settings.model.dtype == "bfloat16":
        warn_where_half_is_slow(device, "model.dtype=bfloat16", "model.dtype=float32")


def _doing(trainer: L.Trainer, chosen: SAETrainingSettings) -> str:
    """What a training of SAEs does; nothing while its text is read."""
    return f"training, {trainer.global_step} of {steps_of(chosen)} steps done" if trainer.global_step else ""


def _trainer(
    settings: TrainSettings, steps: int, logger: Logger | None, callbacks: Sequence[L.Callback], **arguments: object
) -> L.Trainer:
    return open_trainer(
        settings.trainer,
        ("train", settings),
        folder=settings.output_dir,
        logger=logger or False,
        callbacks=list(callbacks),
        max_steps=steps,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **arguments,
    )
