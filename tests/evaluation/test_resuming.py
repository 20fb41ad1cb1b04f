import logging
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import save_file

from sae_match.evaluation.resuming import SumsIdentity, Unfinished

SUMS = torch.randn(1000, dtype=torch.float64)


IDENTITY = SumsIdentity(
    settings={"arms": ["matched"], "seed": 0},
    site="residual",
    precision=["32-true", "False ieee ieee"],
    device="cpu",
    matcher={"fold": "threshold"},
    saes={3: "abc", 4: "def"},
    model="0123",
    share=[0, 1],
    text="some",
    fitting="other",
)
OTHERS = {
    "settings": {"arms": ["matched"], "seed": 1},
    "site": "mlp_out",
    "precision": ["64-true", "False ieee ieee"],
    "device": "cuda",
    "matcher": {"fold": "none"},
    "saes": {3: "abc", 4: "xyz"},
    "model": "4567",
    "share": [1, 2],
    "text": "another",
    "fitting": "",
}


@pytest.mark.parametrize("part", [field.name for field in fields(SumsIdentity)])
def test_sums_of_a_run_that_differs_in_anything_are_kept_elsewhere(tmp_path, part):
    assert replace(IDENTITY).file(tmp_path) == IDENTITY.file(tmp_path)
    assert replace(IDENTITY, **{part: OTHERS[part]}).file(tmp_path) != IDENTITY.file(tmp_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "validations" / "abc.safetensors"


def test_what_was_kept_is_found(file):
    Unfinished(file).keep(SUMS, {4, 0, 2})
    sums, finished = Unfinished(file).found(1000, 5)
    assert torch.equal(sums, SUMS)
    assert finished == {0, 2, 4}


def test_the_last_that_was_kept_counts(file):
    unfinished = Unfinished(file)
    unfinished.keep(SUMS, {0})
    unfinished.keep(2 * SUMS, {0, 1})
    sums, finished = unfinished.found(1000, 5)
    assert torch.equal(sums, 2 * SUMS)
    assert finished == {0, 1}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_nothing_is_found_before_anything_was_kept_or_after_it_was_removed(file):
    unfinished = Unfinished(file)
    assert unfinished.found(1000, 5) is None
    unfinished.remove()
    unfinished.keep(SUMS, {0})
    unfinished.remove()
    assert not file.exists()
    assert unfinished.found(1000, 5) is None


def test_without_a_file_nothing_is_kept():
    unfinished = Unfinished(None)
    unfinished.keep(SUMS, {0})
    assert unfinished.found(1000, 5) is None
    unfinished.remove()


def flipped(whole, at=-50):
    """One bit is another."""
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


@pytest.mark.parametrize("damage", [lambda whole: whole[:-100], lambda _: b"", lambda whole: b"x" + whole[1:], flipped])
def test_a_damaged_file_is_said_and_not_used(file, caplog, damage):
    unfinished = Unfinished(file)
    unfinished.keep(SUMS, {0})
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert unfinished.found(1000, 5) is None
    assert "every batch is measured anew" in caplog.text
    assert str(file) in caplog.text
    unfinished.keep(SUMS, {1})
    assert unfinished.found(1000, 5)[1] == {1}


def test_a_file_with_other_tensors_is_not_used(file, caplog):
    file.parent.mkdir()
    save_file({"permutation": torch.arange(3)}, file)
    assert Unfinished(file).found(1000, 5) is None
    assert "cannot be used" in caplog.text


def test_what_a_killed_writer_left_is_removed(file):
    unfinished = Unfinished(file)
    unfinished.keep(SUMS, {0})
    leftover = file.parent / f".{file.name}.0a1b2c3d{file.suffix}"
    other = file.parent / ".other.safetensors.0a1b2c3d.safetensors"
    for path in (leftover, other):
        path.write_bytes(b"half of it")
    assert unfinished.found(1000, 5)[1] == {0}
    assert not leftover.exists()
    assert other.exists()


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, caplog):
    (tmp_path / "validations").write_text("a file, not a folder")
    unfinished = Unfinished(tmp_path / "validations" / "abc.safetensors")
    assert unfinished.found(1000, 5) is None
    for finished in ({0}, {0, 1}, {0, 1, 2}):
        unfinished.keep(SUMS, finished)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "if this run is killed, it begins anew" in caplog.text
    unfinished.remove()


def test_writing_is_a_small_part_of_the_time(tmp_path):
    unfinished = Unfinished(tmp_path / "sums.safetensors")
    assert unfinished.is_due(0.0)
    unfinished.keep(torch.zeros(1000, dtype=torch.float64), {0})
    assert unfinished.seconds > 0
    assert not unfinished.is_due(unfinished.seconds)
    assert unfinished.is_due(10 * unfinished.seconds)


@pytest.mark.parametrize(
    ("sums", "finished"),
    [
        (SUMS[:100], [0]),
        (SUMS.float(), [0]),
        (torch.full((1000,), torch.nan, dtype=torch.float64), [0]),
        (SUMS, [[0, 1]]),
        (SUMS, [0.5]),
        (SUMS, [1, 1]),
        (SUMS, [5]),
        (SUMS, [-1]),
    ],
)
def test_what_cannot_have_been_written_is_not_used(file, caplog, sums, finished):
    file.parent.mkdir()
    save_file({"sums": sums, "finished": torch.tensor(finished)}, file)
    assert Unfinished(file).found(1000, 5) is None
    assert "cannot be used" in caplog.text
