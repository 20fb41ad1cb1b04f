import hashlib

import pytest
import torch

from sae_match.errors import UserError
from sae_match.saes.manifest import read_folder, recorded_hashes
from sae_match.training.measuring import Measured
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.saving import made_by_training, save
from tests.training.made_up import X, doubling


def test_the_manifest_names_every_file_whatever_the_folder_is_called(tmp_path):
    folder = tmp_path / 'my "SAEs": 1\\2'
    files = save({3: doubling()}, {3: Measured.of(doubling(), X)}, folder, "model")
    assert read_folder(folder) == ("gemma_scope", {3: {"width": "3", "l0": 1}})
    assert files == {3: folder / "layer_3" / "width_3" / "average_l0_1" / "params.npz"}


def test_the_manifest_records_what_every_file_holds(tmp_path):
    save({3: doubling()}, {3: Measured.of(doubling(), X)}, tmp_path, "model")
    found = recorded_hashes(tmp_path)
    named = (file for file in tmp_path.rglob("*.*") if file.name not in ("saes.json", ".made.json"))
    written = {file.relative_to(tmp_path).as_posix(): file for file in named}
    assert found == {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in written.items()}
    assert len(found) == 3


def test_where_a_layer_cannot_be_written_no_manifest_is_left(tmp_path):
    (tmp_path / "sae_lens").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        save({3: doubling()}, {3: Measured.of(doubling(), X)}, tmp_path, "model")
    assert not (tmp_path / "saes.json").exists()


def test_saelens_opens_what_is_written(tmp_path):
    sae_lens = pytest.importorskip("sae_lens")
    save({3: doubling()}, {3: Measured.of(doubling(), X)}, tmp_path, "model")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "sae_lens" / "layer_3")
    assert torch.allclose(theirs.decode(theirs.encode(X)), doubling()(X))


OWN = ("layer_3/width_3/average_l0_1/params.npz", "sae_lens/layer_3/cfg.json")


@pytest.mark.parametrize("name", OWN)
def test_a_users_own_sae_where_one_would_be_written_stays(tmp_path, name):
    made_by_training(tmp_path).keep(SAETrainingSettings.files)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("mine")
    assert made_by_training(tmp_path).foreign(SAETrainingSettings.files) == [name]
    with pytest.raises(UserError, match=rf"{name} is not what a run .* would be written over"):
        save({3: doubling()}, {3: Measured.of(doubling(), X)}, tmp_path, "model")
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "saes.json").exists()


def test_saes_that_a_killed_training_was_writing_are_written_again(tmp_path):
    made = made_by_training(tmp_path)
    made.keep(SAETrainingSettings.files)
    made.begin(OWN)
    (tmp_path / OWN[0]).parent.mkdir(parents=True)
    (tmp_path / OWN[0]).write_text("another attempt")
    assert made.foreign(SAETrainingSettings.files) == []
    save({3: doubling()}, {3: Measured.of(doubling(), X)}, tmp_path, "model")
    assert made_by_training(tmp_path).foreign(SAETrainingSettings.files) == []
