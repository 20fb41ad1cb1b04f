"""Training of the bundled language model, from text to files."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from sae_match.model.loading import load_tokenizer, load_weights
from sae_match.model.settings import ModelSettings
from sae_match.model.sizes import EAGER
from sae_match.owned import refuse_foreign_files
from sae_match.training.collecting.crops import RandomCrops, tokenise
from sae_match.training.language_model.settings import LanguageModelSettings
from sae_match.training.language_model.tokenizer import train_tokenizer
from sae_match.training.language_model.training import LanguageModelTraining, gemma_2_config
from sae_match.training.saving import made_by_training

log = logging.getLogger(__name__)
#: Where a user names the model to start from.
START_FROM = "training.start_from"
Texts = Mapping[str, Sequence[str]]

_HELD_OUT_CROPS = 256
# Of a model that is written as one file.
_WRITTEN = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def train_language_model(
    settings: LanguageModelSettings, training: Texts, held_out: Texts, trainer: L.Trainer, destination: Path
) -> None:
    """Train a tokenizer and a Gemma 2 on `training`, or a given model further, and write both to `destination`.

    Weights are written in bfloat16.

    Raises:
        UserError: If the model to start from cannot be loaded.
    """
    L.seed_everything(settings.seed)
    tokenizer, model = _from_scratch(settings, training) if settings.start_from is None else _given(settings.start_from)
    module = LanguageModelTraining(settings, model)
    crops = _crops(training, tokenizer, settings.context, settings.batch, settings.steps, settings.seed)
    watched = [
        _loader(_crops({name: texts}, tokenizer, settings.context, 64, _HELD_OUT_CROPS // 64, settings.seed))
        for name, texts in held_out.items()
    ]
    trainer.fit(module, _loader(crops), watched)
    made = made_by_training(destination)
    refuse_foreign_files(made, settings.files, "destination")
    made.begin({*_WRITTEN, *made.found(settings.files)})
    module.model.bfloat16().save_pretrained(destination)
    tokenizer.save_pretrained(destination)
    made.end(made.found(settings.files))
    log.info("model and tokenizer written to %s", destination)


def _from_scratch(settings: LanguageModelSettings, training: Texts) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokenizer = train_tokenizer((text for texts in training.values() for text in texts), settings.vocabulary)
    config = gemma_2_config(
        settings, bos=tokenizer.bos_token_id, eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id
    )
    return tokenizer, AutoModelForCausalLM.from_config(config, attn_implementation=EAGER)


def _given(source: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    # In float32, in which small steps are not lost.
    given = ModelSettings(source, dtype="float32", attention=EAGER)
    return load_tokenizer(given, START_FROM), load_weights(given, START_FROM).train()


def _crops(
    texts: Texts, tokenizer: PreTrainedTokenizerBase, context: int, batch: int, steps: int, seed: int
) -> RandomCrops:
    corpora = {name: tokenise(works, tokenizer) for name, works in texts.items()}
    bos = int(tokenizer.bos_token_id)
    return RandomCrops(corpora, context=context, batch=batch, steps=steps, bos=bos, seed=seed)


def _loader(batches: IterableDataset[torch.Tensor]) -> DataLoader[torch.Tensor]:
    return DataLoader(batches, batch_size=None)
