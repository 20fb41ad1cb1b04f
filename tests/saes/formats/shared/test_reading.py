import os

import pytest
import torch
from safetensors.torch import save_file

from sae_match.errors import UserError
from sae_match.saes.formats.shared.reading import (
    in_folder,
    read_json,
    read_pickled_tensors,
    read_safetensors,
    tensor,
    whole,
)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1', b"version https://git-lfs.github.com/spec/v1"])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "cfg.json").write_bytes(content)
    with pytest.raises(UserError, match=r"cfg\.json is damaged or no JSON file"):
        read_json(tmp_path / "cfg.json")


def test_json_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(UserError, match=r"cfg\.json must hold an object of settings, it holds a list"):
        read_json(tmp_path / "cfg.json")


def test_safetensors_are_read_whole_or_refused(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(100)}, file)
    assert torch.equal(read_safetensors(file)["a"], torch.ones(100))
    whole_file = file.read_bytes()
    for broken in (whole_file[:-10], whole_file[:20], b"", b"version https://git-lfs.github.com/spec/v1"):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=r"a\.safetensors is damaged or no safetensors file .* fetch it again"):
            read_safetensors(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_under_a_safetensors_name_is_refused(tmp_path, zipped):
    file = tmp_path / "a.safetensors"
    torch.save({"a": torch.ones(3)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="is a pickle under a safetensors name"):
        read_safetensors(file)


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_a_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": RunsCode()}, tmp_path / "ae.pt")
    with pytest.raises(UserError, match=r"ae\.pt is damaged or holds more than tensors"):
        read_pickled_tensors(tmp_path / "ae.pt")
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_damaged_pickles_are_refused(tmp_path):
    file = tmp_path / "ae.pt"
    torch.save({"a": torch.ones(100)}, file)
    whole_file = file.read_bytes()
    for broken in (whole_file[: len(whole_file) // 2], b"", b"text"):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=r"ae\.pt is damaged"):
            read_pickled_tensors(file)
    torch.save([1], file)
    with pytest.raises(UserError, match="must hold tensors by name, it holds a list"):
        read_pickled_tensors(file)


def test_a_missing_tensor_says_what_there_is(tmp_path):
    with pytest.raises(UserError, match="has no tensor W_enc; it holds a, b"):
        tensor(tmp_path, {"b": torch.ones(1), "a": torch.ones(1)}, "W_enc")


def test_settings_that_are_nested_deeper_than_python_reads_are_refused(tmp_path):
    (tmp_path / "cfg.json").write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(UserError, match=r"cfg\.json is damaged or no JSON file \(.*recursion"):
        read_json(tmp_path / "cfg.json")


def test_settings_that_are_longer_than_any_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sae_match.saes.formats.shared.reading.MOST_SETTINGS", 1 << 10)
    (tmp_path / "cfg.json").write_text('{"a": "' + "a" * 2000 + '"}')
    with pytest.raises(UserError, match=r"cfg\.json: a file of settings takes 1\.962 KiB; at most 1 KiB is read"):
        read_json(tmp_path / "cfg.json")


@pytest.mark.parametrize("value", [None, "3", True, 2.5, 10**400, float("inf"), float("nan")])
def test_a_setting_that_is_no_whole_number_is_refused(tmp_path, value):
    with pytest.raises(UserError, match=r"k must be a|k is no number that fits anything"):
        whole(tmp_path, {"k": value}, "k")


def test_folders_by_template():
    assert in_folder("layers.{layer}", 3, "cfg.json") == "layers.3/cfg.json"
    assert in_folder(".", 3, "cfg.json") == "cfg.json"
    assert in_folder("a/b/", 3, "cfg.json") == "a/b/cfg.json"
