"""Shapes by a file's header are those of the arrays in it."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sae_match.errors import UserError
from sae_match.saes.formats.shared.headers import shape_in_npz, shapes_in_safetensors
from sae_match.saes.formats.shared.reading import read_safetensors

SHAPES = {"a": (3, 4), "b": (5,), "c": ()}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_shapes_in_an_archive(tmp_path, write, dtype):
    write(tmp_path / "a.npz", **{name: np.zeros(shape, dtype) for name, shape in SHAPES.items()})
    assert {name: shape_in_npz(tmp_path / "a.npz", name) for name in SHAPES} == SHAPES
    assert shape_in_npz(tmp_path / "a.npz", "d") is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_shapes_in_safetensors(tmp_path, dtype):
    save_file({name: torch.zeros(shape).to(dtype) for name, shape in SHAPES.items()}, tmp_path / "a.safetensors")
    assert shapes_in_safetensors(tmp_path / "a.safetensors") == SHAPES


def test_a_later_version_of_arrays_is_read(tmp_path):
    array = np.zeros((2, 3), np.float32)
    with (tmp_path / "W_enc.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version=(2, 0))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "W_enc.npy", "W_enc.npy")
    assert shape_in_npz(tmp_path / "a.npz", "W_enc") == (2, 3)


@pytest.mark.parametrize("left", [0, 10, 200])
def test_damaged_files_are_refused(tmp_path, left):
    np.savez(tmp_path / "a.npz", W_enc=np.zeros((300, 4)))
    save_file({"w": torch.zeros(300, 4)}, tmp_path / "a.safetensors")
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UserError, match=r"a\.npz is damaged or no npz archive .* fetch it again"):
        shape_in_npz(tmp_path / "a.npz", "W_enc")
    with pytest.raises(UserError, match=r"a\.safetensors is damaged or no safetensors file .* fetch it again"):
        shapes_in_safetensors(tmp_path / "a.safetensors")


def test_a_header_that_is_longer_than_any_real_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sae_match.saes.formats.shared.headers.MOST_SETTINGS", 1 << 10)
    save_file({f"tensor {number}": torch.zeros(1) for number in range(50)}, tmp_path / "a.safetensors")
    for read in (shapes_in_safetensors, read_safetensors):
        with pytest.raises(UserError, match=r"a\.safetensors: its header takes .* KiB; at most 1 KiB is read"):
            read(tmp_path / "a.safetensors")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.safetensors is damaged or no safetensors file \(.*No such file"):
        shapes_in_safetensors(tmp_path / "a.safetensors")
