import dataclasses
import math
import re

import pytest
import torch
from safetensors.torch import save_file

from sae_match import Matching, match
from sae_match.errors import UserError
from sae_match.matching.result import relative_gap
from sae_match.matching.tensor_files import save_tensors


def test_saving_and_loading_keeps_everything(make_sae, tmp_path):
    found = match(make_sae(0), make_sae(1), rejection_cost=10.0)
    found.save(tmp_path / "deep" / "m.safetensors")
    loaded = Matching.load(tmp_path / "deep" / "m.safetensors")
    assert torch.equal(loaded.permutation, found.permutation)
    assert torch.equal(loaded.pair_cost.nan_to_num(-1), found.pair_cost.nan_to_num(-1))
    assert loaded.lower_bound == found.lower_bound
    assert loaded.evidence == found.evidence
    assert loaded.one_to_one is found.one_to_one is True
    assert found.provenance.items() <= loaded.provenance.items()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["m.safetensors"]


def test_a_matching_that_shares_targets_says_so_after_loading(tmp_path):
    shared = Matching(torch.tensor([0, 0]), torch.ones(2, dtype=torch.float64), one_to_one=False)
    shared.save(tmp_path / "m.safetensors")
    loaded = Matching.load(tmp_path / "m.safetensors")
    assert not loaded.one_to_one
    assert loaded.evidence is None
    assert loaded.lower_bound == -math.inf


def test_files_that_are_no_matching_are_refused(make_sae, tmp_path):
    file = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match="there is no file"):
        Matching.load(file)
    match(make_sae(0), make_sae(1)).save(file)
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not a matching at all"):
        file.write_bytes(broken)
        with pytest.raises(UserError, match="not a sound matching file"):
            Matching.load(file)
    file.write_bytes(whole.replace(b'"format_version":"2"', b'"format_version":"1"'))
    with pytest.raises(UserError, match="format version 1, this version reads 2"):
        Matching.load(file)


def test_a_flipped_bit_anywhere_is_found(make_sae, tmp_path):
    file = tmp_path / "m.safetensors"
    match(make_sae(0), make_sae(1)).save(file)
    whole = file.read_bytes()
    for at in range(8, len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match=r"is damaged|is not a sound|has no checksum|format version"):
            Matching.load(file, sealed=True)


def test_a_file_of_an_earlier_version_has_no_checksum_and_is_read(make_sae, tmp_path):
    file = tmp_path / "m.safetensors"
    found = match(make_sae(0), make_sae(1))
    found.save(file)
    notes = Matching.load(file).provenance | {"format_version": "2", "lower_bound": "0.0", "one_to_one": "true"}
    tensors = {"permutation": found.permutation, "pair_cost": found.pair_cost}
    save_file(tensors, file, metadata=notes)
    assert torch.equal(Matching.load(file).permutation, found.permutation)
    with pytest.raises(UserError, match="has no checksum"):
        Matching.load(file, sealed=True)


def test_a_file_of_another_kind_is_refused(tmp_path):
    save_tensors(tmp_path / "m", {"permutation": torch.arange(2), "pair_cost": torch.zeros(2)}, {})
    with pytest.raises(UserError, match=re.escape("was not written by Matching.save: KeyError('lower_bound')")):
        Matching.load(tmp_path / "m")


def test_evidence_that_cannot_be_read_is_refused(tmp_path):
    tensors = {"permutation": torch.arange(2), "pair_cost": torch.zeros(2, dtype=torch.float64)}
    notes = {"lower_bound": "0.0", "one_to_one": "true", "evidence": '{"solver": "guess"}'}
    save_tensors(tmp_path / "m", tensors, notes)
    with pytest.raises(UserError, match=r"was not written by Matching\.save"):
        Matching.load(tmp_path / "m")


def test_a_full_disk_leaves_nothing_behind(make_sae, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        match(make_sae(0), make_sae(1)).save(blocked / "m.safetensors")
    assert list(tmp_path.iterdir()) == [blocked]


@pytest.mark.parametrize(
    ("permutation", "message"),
    [([0, 0], "share a target feature"), ([0, -2], "feature indices and -1, got -2")],
)
def test_what_is_not_one_to_one_is_no_matching(permutation, message):
    with pytest.raises(UserError, match=message):
        Matching(torch.tensor(permutation), torch.zeros(2, dtype=torch.float64))


@pytest.mark.usefixtures("as_a_user")
def test_wrong_dtypes_and_shapes_are_refused():
    zeros = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(UserError, match="a permutation is int64"):
        Matching(torch.tensor([0.0, 1.0]), zeros)
    with pytest.raises(UserError, match=r"pair_cost must be float64 \[2\], got torch.float32"):
        Matching(torch.arange(2), zeros.float())
    with pytest.raises(UserError, match=r"pair_cost must be float64 \[3\], got torch.float64 \[2\]"):
        Matching(torch.arange(3), zeros)


def test_features_without_a_partner_cost_nothing():
    matching = Matching(torch.tensor([1, -1]), torch.tensor([2.5, math.nan], dtype=torch.float64))
    assert matching.cost == 2.5
    assert dataclasses.replace(matching, permutation=torch.tensor([-1, -1])).lower_bound == -math.inf


def test_the_gap_is_relative_to_the_cost():
    costs = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert Matching(torch.arange(2), costs, lower_bound=3.0).gap == 0.25
    assert Matching(torch.arange(2), torch.zeros(2, dtype=torch.float64), lower_bound=0.0).gap == 0
    assert Matching(torch.arange(2), costs).gap == math.inf


def test_a_matching_prints_in_one_line():
    matching = Matching(torch.tensor([1, -1]), torch.tensor([2.5, math.nan], dtype=torch.float64), lower_bound=2.0)
    assert repr(matching) == "Matching(1 pairs, cost=2.5, lower_bound=2)"


def test_the_same_matching_is_the_same_file(tmp_path):
    notes = {name: name * 2 for name in ("solver", "fold", "metric", "terms", "source", "target", "größe")}
    for name in ("first", "second"):
        Matching(torch.tensor([1, 0]), torch.tensor([0.5, 0.25], dtype=torch.float64), 0.75, notes).save(
            tmp_path / name
        )
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    loaded = Matching.load(tmp_path / "first")
    assert loaded.provenance.items() >= notes.items()
    assert loaded.pair_cost.tolist() == [0.5, 0.25]


def test_the_relative_gap_by_hand():
    assert relative_gap(4.0, 3.0) == 0.25
    assert relative_gap(0.0, 0.0) == 0
    assert relative_gap(0.0, -1.0) == math.inf
    assert relative_gap(-2.0, -3.0) == 0.5
