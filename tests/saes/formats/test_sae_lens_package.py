"""The package sae-lens opens the same files: an independent reading of every format that it knows."""

import pytest
import torch

from sae_match import SAE, bundled, fold_decoder_norm, load_sae
from sae_match.saes.formats import gemma_scope, sae_lens
from tests.saes.formats import layouts
from tests.saes.formats.layouts import D_IN, D_SAE, activations, linear, matrices, normal, thresholds
from tests.saes.formats.package import from_disk, loaders, opened

pytestmark = pytest.mark.filterwarnings("ignore")
DTYPES = (torch.float32, torch.float64)


@torch.no_grad()
def agree(ours, package, x):
    tolerance = {"rtol": 1e-9, "atol": 1e-10} if x.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    f, g = ours.encode(x), package.encode(x)
    assert (f > 0).any()
    assert f.dtype == g.dtype == x.dtype
    assert torch.allclose(f, g, **tolerance)
    assert torch.allclose(ours.decode(f), package.decode(g), **tolerance)


def gates(dtype):
    named = {"b_gate": 6, "r_mag": 7, "b_mag": 8}
    tensors = {name: tensor for name, tensor in matrices(dtype).items() if name != "b_enc"}
    return tensors | {name: normal(seed, D_SAE, dtype=dtype) for name, seed in named.items()}


CASES = {
    "standard": (matrices, {}),
    "standard, nothing subtracted": (matrices, {"architecture": "standard", "apply_b_dec_to_input": False}),
    "jumprelu": (lambda dtype: {**matrices(dtype), "threshold": thresholds(dtype)}, {}),
    "topk": (matrices, {"k": 3}),
    "topk, decoder norms": (matrices, {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True}),
    "gated": (gates, {}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_its_own_format(tmp_path, case, dtype):
    tensors, config = CASES[case]
    layouts.write_sae_lens(tmp_path, tensors(dtype), **{"architecture": case, **config})
    agree(load_sae("sae_lens", str(tmp_path), layer=3), from_disk(tmp_path), activations(dtype))


OLD = {
    "standard": (matrices, {"hook_point": "blocks.3.hook_resid_post"}),
    "standard, nothing subtracted": (matrices, {"apply_b_dec_to_input": False, "normalize_activations": False}),
    "topk": (matrices, {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}),
    "jumprelu": (lambda dtype: {**matrices(dtype), "threshold": thresholds(dtype)}, {"architecture": "jumprelu"}),
    "gated": (gates, {"architecture": "gated"}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", OLD)
def test_its_own_format_before_version_6(tmp_path, case, dtype):
    tensors, config = OLD[case]
    layouts.write_old_sae_lens(tmp_path, tensors(dtype), **config)
    agree(load_sae("sae_lens", str(tmp_path), layer=3), from_disk(tmp_path), activations(dtype))


def test_a_factor_of_the_activations(tmp_path):
    config = {"architecture": "standard", "normalize_activations": "expected_average_only_in"}
    layouts.write_sae_lens(tmp_path, matrices(torch.float64), **config)
    package = from_disk(tmp_path)
    package.fold_activation_norm_scaling_factor(0.5)
    ours = load_sae("sae_lens", str(tmp_path), layer=3, norm_scaling_factor=0.5)
    agree(ours, package, activations(torch.float64))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemma_scope(tmp_path, make_sae, monkeypatch, dtype):
    file = gemma_scope.save(make_sae(0), tmp_path, layer=3, width="10", l0=5)
    package = opened(
        loaders.gemma_2_sae_huggingface_loader, str(file.parent.relative_to(tmp_path)), dtype, monkeypatch, tmp_path
    )
    ours = load_sae("gemma_scope", str(tmp_path), layer=3, width="10", l0=5).to(dtype=dtype)
    agree(ours, package, activations(dtype))


def test_gemma_scope_of_the_embedding_but_for_the_bias(tmp_path, make_sae, monkeypatch):
    """The package scales both matrices and forgets the decoder's bias, which is in the units of the output too."""
    base = make_sae(0)
    sae = SAE(base.W_enc, base.b_enc, base.W_dec, torch.zeros(D_IN), base.threshold)
    gemma_scope.save(sae, tmp_path, layer=0, width="10", l0=5)
    (tmp_path / "layer_0").rename(tmp_path / "embedding")

    original = loaders.get_gemma_2_config_from_hf

    def narrow(*given):
        return {**original(*given), "d_in": D_IN}

    monkeypatch.setattr(loaders, "get_gemma_2_config_from_hf", narrow)
    folder = "embedding/width_10/average_l0_5"
    package = opened(loaders.gemma_2_sae_huggingface_loader, folder, torch.float32, monkeypatch, tmp_path)
    ours = load_sae("gemma_scope", str(tmp_path), layer="embedding", width="10", l0=5)
    agree(ours, package, 5 * activations())


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemma_scope_2(tmp_path, monkeypatch, dtype):
    layouts.write_gemma_scope_2(tmp_path, layouts.gemma_scope_2_tensors(dtype))
    shapes = {"w_enc": (D_IN, D_SAE), "w_dec": (D_SAE, D_IN)}
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", lambda *_: shapes)
    folder = f"resid_post/layer_3_width_{D_SAE}_l0_medium"
    package = opened(loaders.gemma_3_sae_huggingface_loader, folder, dtype, monkeypatch, tmp_path)
    agree(load_sae("gemma_scope_2", str(tmp_path), layer=3, width=D_SAE, l0="medium"), package, activations(dtype))


def llama_scope(tmp_path, monkeypatch, tensors, dtype):
    """Both readings; the package's with its factor folded in, as it does for the releases that it knows."""
    layouts.write_llama_scope(tmp_path, tensors)
    folder = "Llama3_1-8B-Base-L3R-8x"
    package = opened(loaders.llama_scope_sae_huggingface_loader, folder, dtype, monkeypatch, tmp_path)
    scale = D_IN**0.5 / 4.0
    package.fold_activation_norm_scaling_factor(scale)
    return load_sae("llama_scope", str(tmp_path), layer=3), package, scale


@pytest.mark.parametrize("dtype", DTYPES)
def test_llama_scope_with_unit_decoder_rows(tmp_path, monkeypatch, dtype):
    """The package's features are in the units of scaled activations: the same, times the factor."""
    tensors = linear(dtype, "decoder.bias")
    tensors["decoder.weight"] = tensors["decoder.weight"] / tensors["decoder.weight"].norm(dim=0)
    ours, package, scale = llama_scope(tmp_path, monkeypatch, tensors, dtype)
    x = activations(dtype)
    with torch.no_grad():
        close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}
        assert torch.allclose(ours.encode(x) * scale, package.encode(x), **close)
        assert torch.allclose(ours(x), package(x), **close)


def test_llama_scope_with_other_decoder_rows_is_read_wrongly_by_the_package(tmp_path, monkeypatch):
    tensors = linear(torch.float64, "decoder.bias")
    ours, package, _ = llama_scope(tmp_path, monkeypatch, tensors, torch.float64)
    x = activations(torch.float64)
    with torch.no_grad():
        assert not torch.equal(ours.encode(x) > 0, package.encode(x) > 0)


def test_sparsify_is_transposed_by_the_package(tmp_path):
    """The encoders agree; the package's decoder is `[d_in, d_sae]`, which no reconstruction can use."""
    layouts.write_sparsify(tmp_path, layouts.sparsify_tensors(), normalize_decoder=False)
    _, state = loaders.sparsify_disk_loader(tmp_path / "layers.3", cfg_overrides={"dtype": "float32"})
    ours = load_sae("sparsify", str(tmp_path), layer=3)
    assert torch.equal(state["W_enc"], ours.W_enc)
    assert torch.equal(state["W_dec"], ours.W_dec.T)


DICTIONARIES = {
    "AutoEncoder": lambda dtype: linear(dtype, "bias"),
    "AutoEncoderTopK": lambda dtype: {**linear(dtype), "k": torch.tensor(3)},
    "GatedAutoEncoder": lambda dtype: {
        "encoder.weight": gates(dtype)["W_enc"].T.contiguous(),
        "decoder.weight": gates(dtype)["W_dec"].T.contiguous(),
        "decoder_bias": gates(dtype)["b_dec"],
        "gate_bias": gates(dtype)["b_gate"],
        "r_mag": gates(dtype)["r_mag"],
        "mag_bias": gates(dtype)["b_mag"],
    },
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", DICTIONARIES)
def test_dictionary_learning(tmp_path, monkeypatch, kind, dtype):
    layouts.write_dictionary_learning(tmp_path / "a", kind, DICTIONARIES[kind](dtype), k=3)
    package = opened(loaders.dictionary_learning_sae_huggingface_loader_1, "a", dtype, monkeypatch, tmp_path)
    agree(load_sae("dictionary_learning", str(tmp_path), layer=3, path="a"), package, activations(dtype))


def top_k(sae):
    return SAE(sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, activation="topk", k=3)


SAVED = {
    "jumprelu": lambda sae: sae,
    "relu": lambda sae: SAE(sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, activation="relu"),
    "topk": top_k,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", SAVED)
def test_what_is_saved_is_opened_by_the_package_and_here(tmp_path, make_sae, kind, dtype):
    sae = SAVED[kind](make_sae(0, dtype=dtype))
    about = {"model_name": "m", "hook_name": "blocks.3.hook_resid_post", "context_size": 128}
    folder = sae_lens.save(sae, tmp_path / "a" / "b", **about)
    package = from_disk(folder)
    agree(sae, package, activations(dtype))
    agree(load_sae("sae_lens", str(folder), layer=3), package, activations(dtype))
    assert package.cfg.metadata.hook_name == about["hook_name"]
    assert package.cfg.metadata.context_size == 128


def test_a_ranking_by_scale_is_saved_in_the_units_of_the_ranking(tmp_path, make_sae):
    sae = fold_decoder_norm(top_k(make_sae(0, dtype=torch.float64)))
    folder = sae_lens.save(sae, tmp_path, model_name="m", hook_name="blocks.3.hook_resid_post")
    x = activations(torch.float64)
    with torch.no_grad():
        assert torch.allclose(from_disk(folder)(x), sae(x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("layer", [1, 6])
def test_real_activations(tmp_path, bundled_model, layer):
    stream, tokenizer = bundled_model
    source = bundled.path("saes")
    sae = gemma_scope.load(source, layer=layer, **gemma_scope.only_one(source, layer, 1024))
    ids = torch.tensor([tokenizer("To the Congress of the United States:\ndef main(): return 0")["input_ids"]])
    with torch.no_grad():
        x = stream.capture(ids).residuals[layer][0, 1:].float()
    folder = sae_lens.save(sae, tmp_path, model_name="bundled", hook_name=f"blocks.{layer}.hook_resid_post")
    agree(sae, from_disk(folder), x)
    agree(load_sae("sae_lens", str(folder), layer=layer), from_disk(folder), x)
