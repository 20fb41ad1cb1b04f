"""Whole trainings on random models: what is written, what is refused, and that none loses by being killed."""

import logging
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.settings import SAESettings
from sae_match.training.collecting.activations import ActivationBatches
from sae_match.training.collecting.text_stream import CropStream
from tests.training.trainings import SETTINGS, KillAfter, Killed, recipe_of, run, tensors_of
from tests.training.words import as_text, random_documents, small_stream, word_tokenizer


def test_what_is_written_is_what_was_trained(stream, text, tmp_path):
    destination = tmp_path / "saes"
    done = run(recipe_of(stream, text, destination))
    assert list(done) == [1, 0]
    assert not (destination / "training.ckpt").exists()
    collection = SAECollection.of(SAESettings(format="folder", source=str(destination)))
    held_out = CropStream(text, word_tokenizer(), "fitting", SETTINGS)
    x = torch.cat(
        [
            residuals[0, 1:]
            for batch in held_out
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
            for residuals in [stream.capture(ids[mask][None]).residuals[1]]
        ]
    )
    sae = collection.open(1)
    active = sae.encode(x) > 0
    l0 = active.double().sum(1).mean().item()
    assert done[1].tokens == len(x)
    assert done[1].l0 == pytest.approx(l0, rel=0.05)
    assert Path(done[1].file).parent.name == f"average_l0_{round(done[1].l0)}"
    error = (sae(x) - x).double()
    explained = 1 - error.var(0).sum() / x.double().var(0).sum()
    assert done[1].explained_variance == pytest.approx(explained.item(), abs=0.01)
    assert done[1].dead == pytest.approx((~active.any(0)).sum().item(), abs=2)
    for layer in (0, 1):
        other = load_sae("sae_lens", str(destination), layer=layer, path="sae_lens/layer_{layer}")
        for name, tensor in collection.open(layer).tensors().items():
            assert torch.equal(tensor, other.tensors()[name]), name


def test_training_makes_saes_better(stream, text, tmp_path):
    before = run(recipe_of(stream, text, tmp_path / "before", steps=1))
    after = run(recipe_of(stream, text, tmp_path / "after"))
    assert all(after[layer].explained_variance > before[layer].explained_variance for layer in (0, 1))


@pytest.fixture(scope="module")
def undisturbed(stream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(recipe_of(stream, as_text(folder, words=random_documents(150, 13)), folder / "saes"))
    return tensors_of(folder / "saes")


@pytest.mark.parametrize("kills", [[1], [4], [5], [11, 13, 16], [24]])
def test_a_killed_training_ends_like_one_that_was_not(stream, text, tmp_path, undisturbed, kills):
    """Steps 3, 6, 9 … have checkpoints; features are renewed at 4 and 8; blocks end at 5, 10, 15, 20."""
    # The place of the text is part of what a checkpoint is checked for, so it is the same for all.
    destination = tmp_path / "saes"
    for step in kills:
        with pytest.raises(Killed):
            run(recipe_of(stream, text, destination), KillAfter(step))
        assert not (destination / "sae").exists()
    run(recipe_of(stream, text, destination))
    found = tensors_of(destination)
    assert found.keys() == undisturbed.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in undisturbed.items())
    assert not (destination / "training.ckpt").exists()


def test_a_resumed_training_reads_only_what_it_needs(stream, text, tmp_path, monkeypatch):
    destination = tmp_path / "saes"
    with pytest.raises(Killed):
        run(recipe_of(stream, text, destination), KillAfter(13))
    filled = []
    fill = ActivationBatches._fill
    monkeypatch.setattr(ActivationBatches, "_fill", lambda self, block: [filled.append(block.first), fill(self, block)])
    run(recipe_of(stream, text, destination))
    assert filled == [10, 15, 20]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (2, "interrupted after step 2; the same command starts anew, as there is no checkpoint yet"),
        (5, "interrupted after step 5; the same command goes on from {}/training.ckpt"),
    ],
)
def test_an_interruption_says_how_the_training_goes_on(stream, text, tmp_path, caplog, step, message):
    class Interrupt(KillAfter):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == self.step:
                raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    try:
        with caplog.at_level(logging.INFO), pytest.raises(SystemExit):
            run(recipe_of(stream, text, tmp_path / "saes"), Interrupt(step))
    finally:
        # Lightning leaves it switched off.
        signal.signal(signal.SIGINT, handler)
    assert message.format(tmp_path / "saes") in caplog.messages


def killed_once(stream, text, destination, **changes):
    with pytest.raises(Killed):
        run(recipe_of(stream, text, destination, **changes), KillAfter(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_sae": 16}, r"training\.ckpt is of another training: training\.d_sae was 32 there and is 16 here"),
        ({"seed": 1}, r"training\.seed was 0 there and is 1 here; choose another destination, or remove the file"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(stream, text, tmp_path, changes, message):
    killed_once(stream, text, tmp_path / "saes")
    with pytest.raises(UserError, match=message):
        run(recipe_of(stream, text, tmp_path / "saes", **changes))


def test_a_checkpoint_may_be_taken_up_with_another_interval(stream, text, tmp_path):
    killed_once(stream, text, tmp_path / "saes")
    run(recipe_of(stream, text, tmp_path / "saes", checkpoint_every=0))


def test_a_checkpoint_of_another_model_or_text_is_refused(stream, text, tmp_path):
    killed_once(stream, text, tmp_path / "saes")
    with pytest.raises(UserError, match=r"another training: model was \w+ there"):
        run(recipe_of(small_stream(seed=1), text, tmp_path / "saes"))
    (tmp_path / "other").mkdir()
    other = as_text(tmp_path / "other", words=random_documents(150, 13))
    with pytest.raises(UserError, match=r"another training: text\.datasets\.words was"):
        run(recipe_of(stream, other, tmp_path / "saes"))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_or_strange_checkpoint_is_refused(stream, text, tmp_path, content):
    file = tmp_path / "saes" / "training.ckpt"
    file.parent.mkdir()
    if content is None:
        torch.save({"state_dict": {}}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"training\.ckpt is no checkpoint .*; remove it"):
        run(recipe_of(stream, text, tmp_path / "saes"))


def test_a_checkpoint_with_a_flipped_bit_is_refused(stream, text, tmp_path):
    recipe = recipe_of(stream, text, tmp_path / "saes")
    file = tmp_path / "saes" / "training.ckpt"
    file.parent.mkdir()
    weights = torch.arange(100, dtype=torch.float64)
    torch.save({"sae_match": recipe.identity(), "weights": weights}, file)
    assert recipe.checkpoints().found() == file
    whole = bytearray(file.read_bytes())
    whole[whole.index(weights.numpy().tobytes())] ^= 1
    file.write_bytes(whole)
    with pytest.raises(UserError, match=r"training\.ckpt is no checkpoint that can be read; remove it"):
        recipe.checkpoints().found()


def test_a_checkpoint_is_never_unpickled(stream, text, tmp_path):
    file = tmp_path / "saes" / "training.ckpt"
    file.parent.mkdir()
    torch.save({"sae_match": KillAfter(1)}, file)
    with pytest.raises(UserError, match=r"training\.ckpt is no checkpoint that can be read"):
        run(recipe_of(stream, text, tmp_path / "saes"))


def test_a_destination_that_holds_trained_saes_is_refused(stream, text, tmp_path):
    run(recipe_of(stream, text, tmp_path / "saes", steps=1))
    with pytest.raises(UserError, match=r"of another training: training\.\w+ was .*choose another destination"):
        recipe_of(stream, text, tmp_path / "saes").finished()
    (tmp_path / "saes" / "training.json").unlink()
    with pytest.raises(UserError, match=r"saes holds trained SAEs already .*choose another destination"):
        recipe_of(stream, text, tmp_path / "saes").finished()


def test_a_training_that_is_over_is_known_and_what_it_gave_too(stream, text, tmp_path):
    recipe = recipe_of(stream, text, tmp_path / "saes", steps=1)
    assert recipe.finished() is None
    done = run(recipe)
    assert recipe.finished() == done
    assert not (tmp_path / "saes" / "activations").exists()


def test_text_that_is_too_short_is_refused_before_the_model_is_run(stream, text, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(ActivationBatches, "_fill", lambda *_: ran.append(1))
    with pytest.raises(UserError, match=r"too short: \d+ tokens are .* have given (\d+); set training.tokens=\1"):
        run(recipe_of(stream, text, tmp_path / "saes", steps=240))
    assert ran == []


def test_more_positions_than_the_model_has_are_refused(stream, text, tmp_path):
    with pytest.raises(UserError, match=r"training\.context=65 is more than the model's 64 positions"):
        recipe_of(stream, text, tmp_path / "saes", context=65)


def test_text_without_a_held_out_part_is_refused_before_anything_is_trained(stream, tmp_path):
    text = as_text(tmp_path, words=random_documents(3, 13))
    with pytest.raises(UserError, match=r"dataset 'words' has no document in its part 'fitting'"):
        run(recipe_of(stream, text, tmp_path / "saes"))


def test_training_goes_on_from_trained_saes(stream, text, tmp_path):
    run(recipe_of(stream, text, tmp_path / "first"))
    run(recipe_of(stream, text, tmp_path / "second", start_from=str(tmp_path / "first"), learning_rate=1e-9, steps=1))
    first, second = tensors_of(tmp_path / "first"), tensors_of(tmp_path / "second")
    assert all(torch.allclose(first[name], second[name], rtol=1e-3, atol=1e-3) for name in first)


def test_saes_of_another_width_of_the_stream_are_no_start(stream, text, tmp_path):
    run(recipe_of(stream, text, tmp_path / "first"))
    wider = small_stream(width=16)
    with pytest.raises(UserError, match=r"the SAE of layer 1 in .*first reads 12 dimensions, not 16"):
        run(recipe_of(wider, text, tmp_path / "second", start_from=str(tmp_path / "first")))


def test_every_layer_is_logged(stream, text, tmp_path):
    run(recipe_of(stream, text, tmp_path / "saes"), logger=CSVLogger(tmp_path, name="csv", version=""))
    header = (tmp_path / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    for name in ("l0", "explained_variance", "dead"):
        assert {f"{name}/0", f"{name}/1", f"held_out/{name}/0", f"held_out/{name}/1"} <= set(header)
