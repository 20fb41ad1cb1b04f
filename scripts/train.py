"""Train the bundled language model, or SAEs on a model's residual stream.

python scripts/train.py training=language_model destination=DIR
python scripts/train.py training=saes model.source=DIR destination=DIR
"""

import logging
from dataclasses import asdict
from pathlib import Path

from lightning.pytorch.callbacks import RichProgressBar

from sae_match.errors import UserError
from sae_match.files import make_writable
from sae_match.model.loading import load_model
from sae_match.report.wandb_logging import open_logger
from sae_match.settings.entry import entry_point
from sae_match.settings.schema import TrainSettings
from sae_match.text.batches import training_texts
from sae_match.training.language_model import LanguageModelSettings
from sae_match.training.recipes import train_language_model, train_saes
from sae_match.training.sae_training import SAETrainingSettings

log = logging.getLogger(__name__)


@entry_point(
    Path(__file__).parents[1] / "conf" / "train.yaml",
    TrainSettings,
    language_model=LanguageModelSettings,
    saes=SAETrainingSettings,
)
def main(settings: TrainSettings) -> None:
    folder, destination = Path(settings.output_dir), Path(settings.destination)
    try:
        make_writable(destination)
    except OSError as error:
        raise UserError(f"cannot write the destination {destination}: {error.strerror or error}") from error
    training = training_texts(settings.text.datasets, "training")
    held_out = training_texts(settings.text.datasets, "fitting")
    with open_logger(settings.logger, folder, asdict(settings)) as logger:
        trainer = settings.trainer.trainer(
            logger=logger or False,
            callbacks=[RichProgressBar()] if settings.trainer.progress else [],
            default_root_dir=folder,
            max_steps=settings.training.steps,
            val_check_interval=max(1, settings.training.steps // 10),
            gradient_clip_val=1.0 if isinstance(settings.training, LanguageModelSettings) else None,
            enable_progress_bar=settings.trainer.progress,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
        )
        if isinstance(settings.training, LanguageModelSettings):
            train_language_model(settings.training, training, held_out, trainer, destination)
        else:
            stream, tokenizer = load_model(settings.model)
            train_saes(settings.training, stream, tokenizer, training, held_out, trainer, destination)


if __name__ == "__main__":
    main()
