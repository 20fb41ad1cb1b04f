import lightning as L
import pytest
import torch

from sae_match.errors import UserError
from sae_match.model.loading import load_model
from sae_match.model.settings import ModelSettings
from sae_match.training.language_model.recipe import train_language_model
from sae_match.training.language_model.settings import LanguageModelSettings

# Lightning warns of several loading processes, which there are none of.
pytestmark = pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined")

TEXTS = {"prose": ["the state of the union is strong and the people are free. " * 40] * 4}
SHAPE = {"vocabulary": 300, "layers": 2, "width": 16, "heads": 2, "kv_heads": 1, "head_width": 8, "mlp_width": 16}


def trained(destination, steps, **changes):
    settings = LanguageModelSettings(context=16, batch=2, steps=steps, warmup=1, **changes)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        default_root_dir=destination.parent,
    )
    destination.mkdir()
    train_language_model(settings, TEXTS, TEXTS, trainer, destination)
    stream, tokenizer = load_model(ModelSettings(str(destination)))
    return stream, tokenizer


def test_a_given_model_is_trained_further_with_its_own_shape_and_tokenizer(tmp_path):
    first, words = trained(tmp_path / "first", 3, **SHAPE)
    second, same_words = trained(
        tmp_path / "second", 2, start_from=str(tmp_path / "first"), learning_rate=1e-3, **SHAPE | {"width": 32}
    )
    assert second.d_in == first.d_in == 16
    assert words.get_vocab() == same_words.get_vocab()
    before, after = dict(first.model.named_parameters()), dict(second.model.named_parameters())
    assert before.keys() == after.keys()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    # Two steps of a thousandth, and what bfloat16 rounds.
    assert 0 < max(moved.values()) < 0.02


def test_a_model_to_start_from_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder \./nowhere \(training\.start_from\)"):
        trained(tmp_path / "there", 1, start_from="./nowhere", **SHAPE)


def test_the_same_seed_gives_the_same_model(tmp_path):
    one, _ = trained(tmp_path / "one", 2, **SHAPE)
    other, _ = trained(tmp_path / "other", 2, **SHAPE)
    for name, parameter in one.model.named_parameters():
        assert torch.equal(parameter, dict(other.model.named_parameters())[name])
