"""The package sae-lens on the formats of `more_layouts`: encode and decode are the same."""

import pytest
import torch

from sae_match import SAE, load_sae
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.sae import Transcoder
from tests.saes.formats import layouts, more_layouts
from tests.saes.formats.layouts import D_IN, D_SAE, activations, linear, matrices, thresholds
from tests.saes.formats.package import from_disk, loaders, opened

pytestmark = pytest.mark.filterwarnings("ignore")
DOUBLE = torch.float64
X = activations(DOUBLE)


@torch.no_grad()
def agree(ours, package, x=X, factor=1.0):
    """Features up to a factor, and what comes out; to 1e-5, as weights in single precision allow."""
    f, g = ours.encode(x), package.encode(x)
    assert (f > 0).any()
    assert torch.allclose(f * factor, g, rtol=1e-5, atol=1e-5)
    assert torch.allclose(ours(x), package(x), rtol=1e-5, atol=1e-5)


def test_qwen_scope(tmp_path, monkeypatch):
    more_layouts.write_qwen_scope(tmp_path, more_layouts.turned(DOUBLE), k=3)
    loader, repository = loaders.qwen_scope_sae_huggingface_loader, "Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_3"
    package = opened(loader, "layer3.sae.pt", DOUBLE, monkeypatch, tmp_path, repository)
    agree(load_sae("qwen_scope", str(tmp_path), layer=3), package)


def test_llama_scope_r1_distill(tmp_path, monkeypatch):
    more_layouts.write_r1_distill(tmp_path, DOUBLE)
    package = opened(loaders.llama_scope_r1_distill_sae_huggingface_loader, "L3R", DOUBLE, monkeypatch, tmp_path)
    package.fold_activation_norm_scaling_factor(more_layouts.FACTOR)
    agree(load_sae("llamascopium", str(tmp_path), layer=3, norm_scaling_factor=more_layouts.FACTOR), package)


def test_goodfire(tmp_path, monkeypatch):
    name = "Llama-3.1-8B-Instruct-SAE-l19.pth"
    more_layouts.write_state_dict(tmp_path, more_layouts.goodfire(DOUBLE), name)
    repository = "Goodfire/Llama-3.1-8B-Instruct-SAE-l19"
    package = opened(loaders.get_goodfire_huggingface_loader, name, DOUBLE, monkeypatch, tmp_path, repository)
    agree(load_sae("state_dict", str(tmp_path), layer=19, path=name), package)


def test_deepseek_r1(tmp_path, monkeypatch):
    name = "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    more_layouts.write_state_dict(tmp_path, linear(DOUBLE, "decoder.bias"), name)
    package = opened(loaders.deepseek_r1_sae_huggingface_loader, name, DOUBLE, monkeypatch, tmp_path)
    agree(load_sae("state_dict", str(tmp_path), layer=19, path=name), package)


def test_circuit_tracer(tmp_path, monkeypatch):
    more_layouts.write_circuit_tracer(tmp_path, more_layouts.rows(DOUBLE))
    loader, repository = loaders.mwhanna_transcoder_huggingface_loader, "mwhanna/qwen3-4b-transcoders"
    package = opened(loader, "layer_3.safetensors", DOUBLE, monkeypatch, tmp_path, repository)
    agree(load_sae("circuit_tracer", str(tmp_path), layer=3), package)


def test_gemma_scopes_transcoders(tmp_path, monkeypatch, make_sae):
    file = gemma_scope.save(make_sae(0), tmp_path, layer=3, width="10", l0=5)
    original = loaders.get_gemma_2_transcoder_config_from_hf
    monkeypatch.setattr(
        loaders,
        "get_gemma_2_transcoder_config_from_hf",
        lambda *given: {**original(given[0], "layer_3/width_16k", *given[2:])},
    )
    folder = str(file.parent.relative_to(tmp_path))
    package = opened(loaders.gemma_2_transcoder_huggingface_loader, folder, DOUBLE, monkeypatch, tmp_path)
    ours = load_sae("gemma_scope", str(tmp_path), layer=3, width="10", l0=5, transcoder=True).to(dtype=DOUBLE)
    agree(ours, package)


@pytest.mark.parametrize("affine", [False, True])
def test_gemma_scope_2s_transcoders(tmp_path, monkeypatch, affine):
    tensors = layouts.gemma_scope_2_tensors(DOUBLE) | (
        {"affine_skip_connection": more_layouts.skip(DOUBLE)} if affine else {}
    )
    more_layouts.write_transcoder(tmp_path, tensors, affine=affine)
    shapes = {"w_enc": (D_IN, D_SAE), "w_dec": (D_SAE, D_IN)}
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", lambda *_: shapes)
    l0 = "medium_affine" if affine else "medium"
    folder = f"transcoder/layer_3_width_{D_SAE}_l0_{l0}"
    package = opened(loaders.gemma_3_sae_huggingface_loader, folder, DOUBLE, monkeypatch, tmp_path)
    agree(load_sae("gemma_scope_2", str(tmp_path), layer=3, width=D_SAE, l0=l0, site="transcoder"), package)


NORMS = {"layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm"}


@pytest.mark.parametrize("norm", NORMS)
def test_saes_that_normalise_every_token(tmp_path, norm):
    """The package's decoder undoes what its last encoding did; ours does so in one pass."""
    layouts.write_sae_lens(tmp_path, matrices(DOUBLE), architecture="topk", k=3, normalize_activations=norm)
    ours = load_sae("sae_lens", str(tmp_path), layer=3)
    assert ours.input_norm == NORMS[norm]
    agree(ours, from_disk(tmp_path))


def transcoder(affine, activation):
    kept = {"threshold": thresholds(DOUBLE)} if activation == "jumprelu" else {}
    skip = more_layouts.skip(DOUBLE) if affine else None
    return Transcoder(**matrices(DOUBLE), **kept, activation=activation, W_skip=skip)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_transcoders_are_written_for_the_package(tmp_path, affine, activation):
    ours = transcoder(affine, activation)
    about = {"model_name": "m", "hook_name": "blocks.3.hook_mlp_in", "hook_name_out": "blocks.3.hook_mlp_out"}
    folder = sae_lens.save(ours, tmp_path, **about)
    agree(ours, from_disk(folder))
    assert load_sae("sae_lens", str(folder), layer=3).content_hash() == ours.content_hash()


def test_an_sae_is_none_of_these():
    assert SAE(**matrices(), activation="relu").unmeasurable is None
