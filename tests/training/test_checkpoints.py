"""What a checkpoint is told from others by; `test_sae_recipe` has what is done with it."""

import torch

from sae_match.training.checkpoints import Checkpoints, fingerprint, identity
from sae_match.training.sae_settings import SAETrainingSettings
from tests.training.words import as_text, small_stream


def test_a_model_is_known_by_its_weights():
    stream = small_stream()
    first = fingerprint(stream)
    assert fingerprint(small_stream()) == first
    assert fingerprint(small_stream(seed=1)) != first
    assert fingerprint(small_stream().to(torch.bfloat16)) != first
    stream.layers[1].mlp.c_proj.bias.data[3] = 0.5
    assert fingerprint(stream) != first


def test_settings_that_change_nothing_are_no_part_of_what_a_training_is(tmp_path):
    found = identity(SAETrainingSettings(), small_stream(), as_text(tmp_path, words=[]))
    assert "training.checkpoint_every" not in found
    assert found["training.d_sae"] == "512"
    assert found["text.bos"] == "None"
    assert {"text.datasets.words", "model"} <= set(found)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    for name in (".training.ckpt.a3d9e0f1.ckpt", ".other.ckpt.a3d9e0f1.ckpt", "notes.ckpt"):
        (tmp_path / name).touch()
    assert Checkpoints(tmp_path / "training.ckpt", {}, every=1).found() is None
    assert sorted(file.name for file in tmp_path.iterdir()) == [".other.ckpt.a3d9e0f1.ckpt", "notes.ckpt"]
