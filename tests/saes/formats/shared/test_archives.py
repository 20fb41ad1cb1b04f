"""Nothing of a zip archive is used before every member has been held against its checksum."""

import io
import zipfile

import numpy as np
import pytest
import torch

from sae_match import bounds, load_sae
from sae_match.errors import UserError
from sae_match.saes.formats.shared.archives import read_arrays, sound_archive
from sae_match.saes.formats.shared.reading import read_pickled_tensors
from tests.saes.formats import layouts
from tests.saes.formats.layouts import linear


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def zipped(file, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


def arrays(file, *names):
    with sound_archive(file) as archive:
        return read_arrays(file, archive, names)


def test_arrays_are_read_as_they_were_written(tmp_path):
    written = {"a": np.arange(6.0).reshape(2, 3), "b": np.float32([1, 2]), "c": np.asfortranarray(np.eye(3))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **written)
        read = arrays(tmp_path / "a.npz", *written)
        assert all(np.array_equal(read[name], array) for name, array in written.items())


def test_a_pickled_sae_of_which_any_byte_is_flipped_is_refused_or_the_same(tmp_path):
    layouts.write_dictionary_learning(tmp_path, "AutoEncoder", linear(b_dec="bias"))
    file = tmp_path / "ae.pt"
    content, sae = file.read_bytes(), load_sae("dictionary_learning", str(tmp_path), layer=3)
    refused = 0
    directory = content.index(b"PK\x01\x02")
    # The directory at the end is covered by no checksum.
    places = [(place, 0x01) for place in range(0, directory, 5)]
    places += [(place, 0xFF) for place in range(directory, len(content))]
    for place, bits in places:
        file.write_bytes(content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :])
        try:
            assert load_sae("dictionary_learning", str(tmp_path), layer=3).content_hash() == sae.content_hash()
        except UserError:
            refused += 1
    assert refused > len(places) / 4


def test_a_flipped_byte_is_named_with_its_member(tmp_path):
    torch.save({"a": torch.full((50,), 7.0)}, tmp_path / "ae.pt")
    content = (tmp_path / "ae.pt").read_bytes()
    position = content.index(torch.full((50,), 7.0).numpy().tobytes())
    (tmp_path / "ae.pt").write_bytes(content[:position] + b"\x01" + content[position + 1 :])
    with pytest.raises(UserError, match=r"ae\.pt is damaged \(the checksum of .*data/0 is wrong\); remove it"):
        read_pickled_tensors(tmp_path / "ae.pt")


def test_an_array_that_is_shorter_than_its_member_is_refused(tmp_path):
    """What numpy would take of it, it would take without ever seeing the checksum."""
    file = zipped(tmp_path / "a.npz", [("a.npy", npy(np.zeros(100)).replace(b"(100,)", b"(10,) "))])
    with np.load(file) as archive:
        assert archive["a"].shape == (10,)
    with pytest.raises(UserError, match=r"a\.npz: a must be \[10\] of float64 by its header, it has 800 bytes"):
        arrays(file, "a")


def test_an_array_of_which_a_few_bytes_are_there_is_refused_before_it_is_made(tmp_path):
    header = npy(np.zeros(100)).replace(b"(100,), }       ", b"(100000000000,)}")
    with pytest.raises(UserError, match=r"a must be \[100000000000\] of float64 by its header, it has 800 bytes"):
        arrays(zipped(tmp_path / "a.npz", [("a.npy", header)]), "a")


def test_two_members_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = zipped(tmp_path / "a.npz", [("a.npy", npy(np.zeros(3))), ("a.npy", npy(np.ones(3)))])
    with pytest.raises(UserError, match="holds two members of one name"):
        arrays(file, "a")


def test_members_that_say_that_they_are_folders_are_refused(tmp_path):
    """Torch would read nothing of such a tensor, and give what happens to lie in memory."""
    file = tmp_path / "ae.pt"
    torch.save({"a": torch.ones(30)}, file)
    with zipfile.ZipFile(file) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in members:
            info.external_attr = 0x10 if info.filename.endswith("data/0") else 0
            archive.writestr(info, content)
    with pytest.raises(UserError, match=r"ae\.pt is damaged \(it holds a folder beside its arrays\)"):
        read_pickled_tensors(file)


def test_methods_that_unpack_without_a_bound_are_refused(tmp_path):
    file = zipped(tmp_path / "a.npz", [("a.npy", npy(np.zeros(3)))], zipfile.ZIP_BZIP2)
    with pytest.raises(UserError, match="packed by a method that neither numpy nor torch writes"):
        arrays(file, "a")


def test_what_unpacks_to_more_than_weights_can_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "UNPACKED_FREELY", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 18))
    with pytest.raises(UserError, match=r"a\.npz: its .* KiB unpack to 2 MiB; beyond 1 MiB at most 20 times its size"):
        arrays(tmp_path / "a.npz", "a")
    np.savez_compressed(tmp_path / "b.npz", a=np.random.default_rng(0).normal(size=1 << 18))
    assert arrays(tmp_path / "b.npz", "a")["a"].shape == (1 << 18,)


def test_a_long_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sae_match.saes.formats.shared.reading.MOST_SETTINGS", 1 << 10)
    torch.save({"a" * 2000: torch.ones(3)}, tmp_path / "ae.pt")
    with pytest.raises(UserError, match=r"the pickle .*data\.pkl takes .* KiB; at most 1 KiB is read"):
        read_pickled_tensors(tmp_path / "ae.pt")


def test_a_tensor_of_which_few_numbers_are_there_is_refused(tmp_path):
    torch.save({"a": torch.ones(1).expand(1 << 40)}, tmp_path / "ae.pt")
    with pytest.raises(UserError, match=r"ae\.pt: a is \[1099511627776\], but the file holds fewer numbers for it"):
        read_pickled_tensors(tmp_path / "ae.pt")


def test_a_sparse_tensor_is_refused(tmp_path):
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "ae.pt")
    with pytest.raises(UserError, match=r"ae\.pt: a must be a plain tensor, got torch.sparse_coo on cpu"):
        read_pickled_tensors(tmp_path / "ae.pt")
