import resource
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from sae_match.errors import UserError
from sae_match.training.collecting import activations, collected
from sae_match.training.collecting.activations import ActivationBatches, collect_values, token_values
from sae_match.training.collecting.collected import Collected, remove_collected
from sae_match.training.collecting.crops import RandomCrops
from sae_match.training.collecting.text_stream import CropStream
from sae_match.training.sae_settings import SAETrainingSettings, settled
from tests.training.words import as_text, random_documents, small_stream, word_tokenizer

CPU = torch.device("cpu")
# A token takes 2 layers x 12 dimensions x 2 bytes; the buffer holds 40 tokens, five steps.
SETTINGS = settled(
    SAETrainingSettings(
        layers=[0, 1], d_sae=8, l0=[2.0], steps=12, batch=8, context=16, crops=4, shuffle=8, buffer=40.5 * 48e-9
    ),
    n_layers=2,
    d_in=12,
)


@pytest.fixture
def text(tmp_path):
    return as_text(tmp_path, words=random_documents(40, 13) + random_documents(20, 9, seed=1))


@pytest.fixture(scope="module")
def stream():
    return small_stream()


def made(stream, text, settings=SETTINGS, watch=lambda *_: None, disk=None):
    reading = CropStream(text, word_tokenizer(), "training", settings)
    return ActivationBatches(stream, reading, settings, CPU, watch, disk)


def tokens(activations):
    """Each token's activations as something that can be counted."""
    return [tuple(row) for row in activations.transpose(0, 1).flatten(1).tolist()]


def test_residuals_are_those_of_single_texts_without_bos_and_padding(stream, text):
    batch = next(CropStream(text, word_tokenizer(), "training", SETTINGS))
    assert not batch.attention_mask.all()
    found = token_values(stream, batch, [1, 0])
    alone = [
        stream.capture(ids[mask][None]).residuals
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    for row, layer in enumerate([1, 0]):
        expected = torch.cat([residuals[layer][0, 1:] for residuals in alone])
        assert torch.allclose(found[row].float(), expected, rtol=1e-2, atol=1e-3)


def test_a_collected_store_equals_its_batches(stream):
    crops = RandomCrops({"a": torch.arange(2, 50)}, context=6, batch=3, steps=2, bos=0, seed=0)
    store = collect_values(stream, crops, [1])
    expected = torch.cat([stream.capture(batch).residuals[1][:, 1:].flatten(0, 1) for batch in crops])
    assert torch.equal(store[0], expected.to(torch.bfloat16))


def test_each_activation_is_used_once_and_each_block_is_used_up_before_the_next(stream, text):
    shares = []
    batches = made(stream, text, watch=lambda done, total: shares.append(done / total))
    found = list(batches)
    assert [batch.shape for batch in found] == [(2, 8, 12)] * 12
    assert (len(batches), batches.store.shape) == (12, (2, 40, 12))
    reading = CropStream(text, word_tokenizer(), "training", SETTINGS)
    for steps, count in ((slice(0, 5), 40), (slice(5, 10), 40), (slice(10, 12), 16)):
        read = torch.empty(2, 0, 12)
        while read.shape[1] < count:
            read = torch.cat([read, token_values(stream, next(reading), [0, 1]).float()], dim=1)
        drawn = torch.cat(found[steps], dim=1)
        assert sorted(tokens(drawn)) == sorted(tokens(read[:, :count]))
        assert tokens(drawn) != tokens(read[:, :count])
    assert shares.count(1.0) == 3


def test_with_fewer_tokens_than_the_steps_use_each_is_used_equally_often(stream, text):
    found = torch.cat(list(made(stream, text, replace(SETTINGS, tokens=32))), dim=1)
    uses = [tokens(found).count(token) for token in set(tokens(found))]
    assert uses == [3] * 32


@pytest.mark.parametrize("taken", [0, 3, 5, 7, 12])
def test_batches_go_on_where_others_stood(stream, text, taken):
    batches = made(stream, text)
    iterator = iter(batches)
    list(islice(iterator, taken))
    state = batches.state_dict()
    later = made(stream, text)
    later.load_state_dict(state)
    rest = list(iterator)
    resumed = list(later)
    assert len(rest) == len(resumed) == 12 - taken
    assert all(torch.equal(a, b) for a, b in zip(rest, resumed, strict=True))


def test_the_first_block_is_not_read_twice_for_being_looked_at(stream, text):
    batches = made(stream, text)
    assert batches.present().shape == (2, 40, 12)
    plain = list(made(stream, text))
    assert all(torch.equal(a, b) for a, b in zip(batches, plain, strict=True))


def test_text_that_is_too_short_says_how_much_there_is(stream, tmp_path):
    text = as_text(tmp_path, words=random_documents(10, 4))
    with pytest.raises(
        UserError, match=r"too short: 96 tokens are wanted, and dataset 'words' ends when .* given (\d+);"
    ):
        list(made(stream, text))


def test_activations_that_are_not_finite_are_refused(text):
    broken = small_stream(seed=1)
    broken.layers[1].mlp.c_proj.bias.data[3] = float("nan")
    with pytest.raises(UserError, match=r"activations of layer 1 are not finite"):
        made(broken, text).present()


def on_disk(folder, layers=2):
    return lambda before: Collected(folder, {"before": before}, layers, 12)


def test_what_was_collected_before_a_kill_is_not_collected_again(stream, text, tmp_path, monkeypatch):
    monkeypatch.setattr(collected, "_BYTES", 12 * 48)
    # A crop at a time, so that a block takes several passes of the model.
    narrow, folder = replace(SETTINGS, crops=1), tmp_path / "activations"
    plain = list(made(stream, text, narrow))

    class Killed(BaseException):
        pass

    def kill(done, _total):
        if done > 25:
            raise Killed

    with pytest.raises(Killed):
        list(made(stream, text, narrow, watch=kill, disk=on_disk(folder)))
    assert list(folder.iterdir())
    passes = []
    look = activations.token_values
    monkeypatch.setattr(activations, "token_values", lambda *given: [passes.append(1), look(*given)][1])
    resumed = made(stream, text, narrow, disk=on_disk(folder))
    assert all(torch.equal(a, b) for a, b in zip(resumed, plain, strict=True))
    again = len(passes)
    passes.clear()
    list(made(stream, text, narrow))
    assert again < len(passes)


def test_a_block_leaves_the_disk_when_the_next_one_comes_unless_its_folder_was_named(stream, text, tmp_path):
    list(made(stream, text, disk=on_disk(tmp_path / "own")))
    assert len({file.name.split("-")[1] for file in (tmp_path / "own").iterdir()}) == 1
    named = replace(SETTINGS, activations=str(tmp_path / "named"))
    list(made(stream, text, named, disk=on_disk(tmp_path / "named")))
    assert len({file.name.split("-")[1] for file in (tmp_path / "named").iterdir()}) == 3
    remove_collected(tmp_path / "named")
    assert not (tmp_path / "named").exists()


def test_only_parts_that_a_training_has_collected_are_removed(tmp_path):
    part = collected.Part(torch.ones(2, 3, 12, dtype=torch.bfloat16), {})
    collection = Collected(tmp_path, {}, 2, 12)
    collection.write(part)
    (ours,) = tmp_path.iterdir()
    theirs = {
        "part-notes.pt": b"by hand",
        "part-2-of-thesis.pt": ours.read_bytes(),
        f"{collection.prefix}00007.pt": b"something else",
        f"{collection.prefix}final.pt": ours.read_bytes(),
    }
    for name, content in theirs.items():
        (tmp_path / name).write_bytes(content)
    other = tmp_path / f"{collection.prefix}00008.pt"
    torch.save({"weights": torch.ones(3)}, other)
    collection.remove()
    remove_collected(tmp_path)
    assert not ours.exists()
    assert {file.name for file in tmp_path.iterdir()} == {*theirs, other.name}


def test_activations_of_another_shape_or_damaged_ones_are_refused_by_name(stream, text, tmp_path):
    folder = tmp_path / "activations"
    list(made(stream, text, disk=on_disk(folder)))
    (first, *_) = sorted(folder.iterdir())
    collection = Collected(folder, {}, 3, 12)
    collection.prefix = first.name.removesuffix("00000.pt")
    with pytest.raises(UserError, match=rf"{first.name} holds no collected activations"):
        list(collection)
    collection.shape = (2, 12)
    whole = bytearray(first.read_bytes())
    residuals = torch.load(first, weights_only=True)["residuals"]
    at = whole.index(residuals.view(torch.uint8).numpy().tobytes())
    # One bit of a number: torch would not see it.
    whole[at] ^= 1
    first.write_bytes(whole)
    with pytest.raises(UserError, match=rf"{first.name} holds no collected activations"):
        list(collection)
    first.write_bytes(b"nothing")
    with pytest.raises(UserError, match=rf"{first.name} holds no collected activations"):
        list(collection)


def test_a_full_disk_is_said_before_it_is_full(stream, text, tmp_path, monkeypatch):
    monkeypatch.setattr(collected.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(UserError, match=r"has 1e-07 GB left, too little for collected activations"):
        list(made(stream, text, disk=on_disk(tmp_path)))


def test_no_layer_behind_the_last_one_that_is_needed_is_run(stream, text):
    batch = next(CropStream(text, word_tokenizer(), "training", SETTINGS))
    ran = []
    handle = stream.layers[1].register_forward_hook(lambda *_: ran.append(1))
    try:
        token_values(stream, batch, [0])
    finally:
        handle.remove()
    assert ran == []


def test_a_disk_that_fills_up_while_a_part_is_written_is_said_in_one_line(tmp_path):
    part = collected.Part(torch.ones(2, 5000, 12, dtype=torch.bfloat16), {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*part-.*: it could not be written whole; is the disk full"):
            Collected(tmp_path, {}, 2, 12).write(part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
