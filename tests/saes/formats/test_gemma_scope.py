import numpy as np
import pytest
import torch

from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.saes.formats import gemma_scope


@pytest.fixture
def folder(tmp_path, make_sae):
    gemma_scope.save(make_sae(0, d_sae=16), tmp_path, layer=3, width="16", l0=5)
    return tmp_path


def file_in(folder):
    return folder / "layer_3" / "width_16" / "average_l0_5" / "params.npz"


def rewrite(folder, **changes):
    with np.load(file_in(folder)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    np.savez(file_in(folder), **arrays)


def load(folder, **which):
    return load_sae("gemma_scope", str(folder), **{"layer": 3, "width": "16", "l0": 5, **which})


def test_what_is_written_in_the_public_layout_is_read_back(folder, make_sae):
    sae = load(folder)
    for name, tensor in make_sae(0, d_sae=16).tensors().items():
        assert torch.equal(tensor, sae.tensors()[name])
    with np.load(file_in(folder)) as archive:
        assert sorted(archive.files) == ["W_dec", "W_enc", "b_dec", "b_enc", "threshold"]
        assert {archive[name].dtype for name in archive.files} == {np.dtype(np.float32)}
    assert [file.name for file in file_in(folder).parent.iterdir()] == ["params.npz"]


@pytest.mark.parametrize(
    ("width", "features"),
    [
        *(("512", 512), ("1k", 1024), ("3k", 3072), ("4k", 4096), ("16k", 1 << 14), ("32k", 1 << 15), ("65k", 1 << 16)),
        *(("131k", 1 << 17), ("262k", 1 << 18), ("524k", 1 << 19), ("1m", 1 << 20), ("2m", 1 << 21)),
    ],
)
def test_widths_of_paths(width, features):
    assert gemma_scope.features_of(width) == features
    assert gemma_scope.width_of(features) == width


def test_every_number_of_features_has_a_width_that_means_it():
    for features in (*range(1, 3000), 65 * 1024, 131 * 1024, 1_000_000):
        assert gemma_scope.features_of(gemma_scope.width_of(features)) == features


def test_the_embedding_sae_reads_the_residual_before_the_first_layer(tmp_path, make_sae):
    """Its file is for embeddings that Gemma then multiplies by the root of their width."""
    sae = make_sae(0, d_in=4, d_sae=16)
    gemma_scope.save(sae, tmp_path, layer=0, width="16", l0=6)
    (tmp_path / "layer_0").rename(tmp_path / "embedding")
    loaded = load_sae("gemma_scope", str(tmp_path), layer="embedding", width="16", l0=6)
    embeddings = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loaded.encode(2 * embeddings), sae.encode(embeddings), atol=1e-5)
    assert torch.allclose(loaded(2 * embeddings), 2 * sae(embeddings), atol=1e-5)


def test_a_missing_file_says_what_there_is(folder):
    message = r"no file layer_3/width_16/average_l0_6.*width_16 holds average_l0_5; the nearest to average_l0_6 is aver"
    with pytest.raises(UserError, match=message):
        load(folder, l0=6)
    with pytest.raises(UserError, match=r"holds layer_3"):
        load(folder, layer=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None}, "has no array threshold; it holds"),
        ({"W_enc": np.zeros((16, 6), np.float32)}, r"W_enc is transposed: it must be \[6, 16\]"),
        ({"W_enc": np.zeros((7, 16), np.float32)}, r"params\.npz: W_dec must be \[16, 7\]"),
        ({"b_enc": np.zeros(16)}, "b_enc must be float32, got float64"),
        ({"W_dec": np.full((16, 6), np.nan, np.float32)}, "W_dec has 96 entries that are not finite"),
        ({"b_dec": np.array([object()])}, "damaged"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_a_file_that_is_not_sound_is_refused(folder, changes, message):
    rewrite(folder, **changes)
    with pytest.raises(UserError, match=message):
        load(folder)


def test_a_file_that_is_no_whole_archive_is_refused(folder, tmp_path):
    whole = file_in(folder).read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 302131416\n"
    for broken in (whole[: len(whole) // 2], pointer, (tmp_path / "array.npy").read_bytes(), b""):
        file_in(folder).write_bytes(broken)
        with pytest.raises(UserError, match="is damaged or no npz archive"):
            load(folder)


def refusal_of(folder):
    """What a user is told about the file, if it cannot be loaded; any other error passes through."""
    try:
        load(folder)
    except UserError as error:
        return str(error)
    return None


def test_no_flipped_byte_ends_in_anything_but_a_clear_error_or_a_sound_sae(folder):
    whole = file_in(folder).read_bytes()
    for position in np.random.default_rng(0).integers(len(whole), size=400):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        file_in(folder).write_bytes(flipped)
        refusal = refusal_of(folder)
        assert refusal is None or str(file_in(folder)) in refusal


def test_what_picks_an_sae_is_checked_and_a_width_may_be_a_number(folder):
    assert load(folder, width=16).d_sae == 16
    with pytest.raises(
        UserError, match=r"missing a required argument: 'l0'; it takes layer, width, l0, transcoder, revision"
    ):
        load_sae("gemma_scope", str(folder), layer=3, width="16")
    with pytest.raises(UserError, match="unexpected keyword argument 'widht'"):
        load(folder, widht="16")
    with pytest.raises(UserError, match="a width looks like 512, 16k or 1m, got '16q'"):
        gemma_scope.features_of("16q")


def test_a_width_that_contradicts_the_tensors_is_refused(folder):
    file_in(folder).parent.parent.rename(folder / "layer_3" / "width_32")
    with pytest.raises(UserError, match="width 32 means 32 features, W_enc has 16"):
        load(folder, width="32")


def test_unknown_format_and_source():
    with pytest.raises(UserError, match="unknown SAE format 'gema'; there are gemma_scope"):
        load_sae("gema", "x")
    with pytest.raises(UserError, match="neither a folder nor a repository"):
        load("/no/such/folder")
