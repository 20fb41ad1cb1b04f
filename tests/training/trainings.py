"""Very short trainings of SAEs on random models."""

from dataclasses import replace
from pathlib import Path

import lightning as L

from sae_match import load_sae
from sae_match.training.sae_recipe import SAERecipe
from sae_match.training.sae_settings import SAETrainingSettings, settled
from tests.training.words import word_tokenizer

# The buffer is filled five times; checkpoints lie inside blocks and between them.
SETTINGS = SAETrainingSettings(
    layers=[1, 0],
    d_sae=32,
    l0=[2.0, 3.0],
    steps=24,
    batch=32,
    context=16,
    crops=4,
    shuffle=8,
    resample_every=4,
    checkpoint_every=3,
    learning_rate=1e-2,
    buffer=32 * 5.5 * 48e-9,
)


class Killed(BaseException):
    """Nothing that a library would catch as an error."""


class KillAfter(L.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise Killed


def recipe_of(stream, text, destination, **changes):
    settings = settled(replace(SETTINGS, **changes), stream.n_layers, stream.d_in)
    return SAERecipe(settings, stream, word_tokenizer(), text, destination, "model")


def run(recipe, *callbacks, logger=False):
    checkpoints = recipe.checkpoints()
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=recipe.settings.steps,
        logger=logger,
        log_every_n_steps=4,
        callbacks=[checkpoints, *callbacks],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return recipe.run(trainer, checkpoints, lambda *_: None)


def tensors_of(folder):
    files = sorted(Path(folder).glob("layer_*/width_32/average_l0_*/params.npz"))
    assert len(files) == 2
    return {
        f"{layer} {name}": tensor
        for layer, file in enumerate(files)
        for name, tensor in load_sae(
            "gemma_scope", str(folder), layer=layer, width="32", l0=int(file.parent.name.rpartition("_")[2])
        )
        .tensors()
        .items()
    }
