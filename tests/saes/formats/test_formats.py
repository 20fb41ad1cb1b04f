"""Each format against its own formula, written down from its description."""

import pytest
import torch

from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.saes.formats import FORMATS, sae_files
from tests.saes.formats import layouts
from tests.saes.formats.layouts import D_IN, D_SAE, activations, linear, matrices, normal, thresholds

DOUBLE = torch.float64
X = activations(DOUBLE)
OURS = matrices(DOUBLE)
W_ENC, B_ENC, W_DEC, B_DEC = OURS.values()
THETA = thresholds(DOUBLE)
NORMS = W_DEC.norm(dim=1)
GATES = {"b_gate": normal(6, D_SAE, dtype=DOUBLE), "r_mag": normal(7, D_SAE, dtype=DOUBLE)}
B_MAG = normal(8, D_SAE, dtype=DOUBLE)


def top(z, k):
    kept = torch.zeros_like(z).scatter(-1, z.topk(k).indices, 1.0)
    return torch.relu(z) * kept


def above(z, threshold):
    return torch.relu(z) * (z > threshold)


def agrees(sae, features, reconstruction):
    f = sae.encode(X)
    assert (f > 0).any()
    assert torch.allclose(f, features, rtol=1e-10, atol=1e-12)
    assert torch.allclose(sae.decode(f), reconstruction, rtol=1e-10, atol=1e-12)


def test_gemma_scope_2(tmp_path):
    source = layouts.write_gemma_scope_2(tmp_path, layouts.gemma_scope_2_tensors(DOUBLE))
    sae = load_sae("gemma_scope_2", str(source), layer=3, width=D_SAE, l0="medium")
    f = above(X @ W_ENC + B_ENC, THETA)
    agrees(sae, f, f @ W_DEC + B_DEC)


def test_gemma_scope_2_of_another_site(tmp_path):
    source = layouts.write_gemma_scope_2(tmp_path, layouts.gemma_scope_2_tensors(), site="resid_post_all")
    assert load_sae("gemma_scope_2", str(source), layer=3, width="10", l0="medium", site="resid_post_all").d_in == D_IN


def test_llama_scope_scales_by_norms(tmp_path):
    source = layouts.write_llama_scope(tmp_path, linear(DOUBLE, "decoder.bias"))
    sae = load_sae("llama_scope", str(source), layer=3)
    s = D_IN**0.5 / 4.0
    f = above((X @ W_ENC + B_ENC / s) * NORMS, 0.5)
    agrees(sae, f, (f / NORMS) @ W_DEC + B_DEC / s)


def test_llama_scope_without_norms_in_the_gate(tmp_path):
    source = layouts.write_llama_scope(tmp_path, linear(DOUBLE, "decoder.bias"), sparsity_include_decoder_norm=False)
    s = D_IN**0.5 / 4.0
    f = above(X @ W_ENC + B_ENC / s, 0.5)
    agrees(load_sae("llama_scope", str(source), layer=3), f, f @ W_DEC + B_DEC / s)


def test_sparsify_subtracts_the_decoder_bias_and_keeps_k(tmp_path):
    source = layouts.write_sparsify(tmp_path, layouts.sparsify_tensors(DOUBLE))
    f = top((X - B_DEC) @ W_ENC + B_ENC, 3)
    agrees(load_sae("sparsify", str(source), layer=3), f, f @ W_DEC + B_DEC)


def test_no_latents_mean_a_multiple_of_the_width(tmp_path):
    source = layouts.write_sparsify(tmp_path, layouts.sparsify_tensors(), num_latents=0, expansion_factor=2)
    with pytest.raises(UserError, match=r"cfg\.json: d_sae is 12 there, but the tensors beside it have 10"):
        load_sae("sparsify", str(source), layer=3)


def gated_features(x):
    y = x @ W_ENC
    return torch.relu(y * GATES["r_mag"].exp() + B_MAG) * (y + GATES["b_gate"] > 0)


DICTIONARIES = {
    "AutoEncoder": (linear(DOUBLE, "bias"), lambda x: torch.relu((x - B_DEC) @ W_ENC + B_ENC)),
    "AutoEncoderNew": (linear(DOUBLE, "decoder.bias"), lambda x: torch.relu(x @ W_ENC + B_ENC)),
    "AutoEncoderTopK": (
        {**linear(DOUBLE), "k": torch.tensor(3), "threshold": torch.tensor(-1.0)},
        lambda x: top((x - B_DEC) @ W_ENC + B_ENC, 3),
    ),
    "BatchTopKSAE": (
        {**linear(DOUBLE), "k": torch.tensor(3), "threshold": torch.tensor(0.7, dtype=DOUBLE)},
        lambda x: above((x - B_DEC) @ W_ENC + B_ENC, 0.7),
    ),
    "MatryoshkaBatchTopKSAE": (
        {**OURS, "k": torch.tensor(3), "threshold": torch.tensor(0.7, dtype=DOUBLE)},
        lambda x: above((x - B_DEC) @ W_ENC + B_ENC, 0.7),
    ),
    "JumpReluAutoEncoder": ({**OURS, "threshold": THETA}, lambda x: above(x @ W_ENC + B_ENC, THETA)),
    "GatedAutoEncoder": (
        {
            "encoder.weight": W_ENC.T.contiguous(),
            "decoder.weight": W_DEC.T.contiguous(),
            "decoder_bias": B_DEC,
            "gate_bias": GATES["b_gate"],
            "r_mag": GATES["r_mag"],
            "mag_bias": B_MAG,
        },
        lambda x: gated_features(x - B_DEC),
    ),
}


@pytest.mark.parametrize("kind", DICTIONARIES)
def test_dictionary_learning(tmp_path, kind):
    tensors, encode = DICTIONARIES[kind]
    layouts.write_dictionary_learning(tmp_path, kind, tensors, k=3)
    f = encode(X)
    agrees(load_sae("dictionary_learning", str(tmp_path), layer=3), f, f @ W_DEC + B_DEC)


def sae_lens_cases():
    shifted = (X - B_DEC) @ W_ENC + B_ENC
    yield "standard", OURS, {}, torch.relu(shifted)
    yield "standard", OURS, {"apply_b_dec_to_input": False}, torch.relu(X @ W_ENC + B_ENC)
    yield "jumprelu", {**OURS, "threshold": THETA}, {}, above(shifted, THETA)
    yield "batchtopk", {**OURS, "topk_threshold": torch.tensor(0.7, dtype=DOUBLE)}, {}, above(shifted, 0.7)
    yield "topk", OURS, {"k": 3}, top(shifted, 3)
    without_b_enc = {name: tensor for name, tensor in OURS.items() if name != "b_enc"}
    yield "gated", {**without_b_enc, **GATES, "b_mag": B_MAG}, {}, gated_features(X - B_DEC)


@pytest.mark.parametrize(("architecture", "tensors", "config", "features"), list(sae_lens_cases()))
def test_sae_lens(tmp_path, architecture, tensors, config, features):
    layouts.write_sae_lens(tmp_path, tensors, architecture=architecture, **config)
    agrees(load_sae("sae_lens", str(tmp_path), layer=3), features, features @ W_DEC + B_DEC)


def test_features_in_units_of_the_decoder_norm(tmp_path):
    layouts.write_sae_lens(tmp_path, OURS, architecture="topk", k=3, rescale_acts_by_decoder_norm=True)
    f = top(((X - B_DEC) @ W_ENC + B_ENC) * NORMS, 3)
    agrees(load_sae("sae_lens", str(tmp_path), layer=3), f, (f / NORMS) @ W_DEC + B_DEC)


def test_a_factor_of_the_activations_is_folded_when_it_is_given(tmp_path):
    layouts.write_sae_lens(tmp_path, OURS, architecture="standard", normalize_activations="expected_average_only_in")
    with pytest.raises(UserError, match="the factor is not in the file; give it as norm_scaling_factor"):
        load_sae("sae_lens", str(tmp_path), layer=3)
    f = torch.relu((0.5 * X - B_DEC) @ W_ENC + B_ENC)
    sae = load_sae("sae_lens", str(tmp_path), layer=3, norm_scaling_factor=0.5)
    agrees(sae, f, (f @ W_DEC + B_DEC) / 0.5)


def test_gpt2_res_jb_reads_centred_residuals_less_the_decoder_bias(tmp_path):
    """Raw and centred residuals, far from zero as GPT-2's are, give the features that the SAE was trained for."""
    folder = tmp_path / "blocks.4.hook_resid_pre"
    hook = {"hook_point": "blocks.4.hook_resid_pre", "hook_name": "blocks.4.hook_resid_pre", "hook_point_layer": 4}
    layouts.write_old_sae_lens(folder, OURS, **hook)
    sae = load_sae("sae_lens", str(tmp_path), layer=3, path="blocks.4.hook_resid_pre", centre_input=True)
    raw = X + 30
    f = torch.relu((raw - raw.mean(dim=1, keepdim=True) - B_DEC) @ W_ENC + B_ENC)
    assert torch.allclose(sae.encode(raw), f, rtol=1e-10, atol=1e-10)
    assert torch.allclose(sae(raw), sae(raw - raw.mean(dim=1, keepdim=True)), rtol=1e-10, atol=1e-10)


def test_old_top_k_configs(tmp_path):
    layouts.write_old_sae_lens(tmp_path, OURS, activation_fn_str="topk", activation_fn_kwargs={"k": 3})
    f = top((X - B_DEC) @ W_ENC + B_ENC, 3)
    agrees(load_sae("sae_lens", str(tmp_path), layer=3), f, f @ W_DEC + B_DEC)


def refused(folder, format, message, **which):
    with pytest.raises(UserError, match=message):
        load_sae(format, str(folder), layer=3, **which)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "temporal"}, r"cfg\.json: architecture must be one of standard, .*, got 'temporal'"),
        (
            {"architecture": "standard", "normalize_activations": "covariance_whitening"},
            "is 'covariance_whitening', which depends on each",
        ),
        ({"architecture": "standard", "activation_fn": "tanh-relu"}, "activation_fn must be 'relu' or 'topk'"),
        ({"architecture": "standard", "activation_fn": "topk"}, "'topk' goes with architecture 'topk', got 'standard'"),
        ({"architecture": "standard", "d_sae": 12}, "d_sae is 12 there, but the tensors beside it have 10"),
        ({"architecture": ["standard"]}, r"architecture must be one of standard, .*, got \['standard'\]"),
        ({"architecture": "jumprelu"}, "has no tensor threshold; it holds W_dec, W_enc, b_dec, b_enc"),
        ({"architecture": "topk", "k": 11}, "k must be at most the number of features, 10, got 11"),
        ({"architecture": "topk"}, "k must be a number, got None"),
        ({"architecture": "standard", "metadata": {"hook_name": "blocks.5.hook_resid_post"}}, "is not at layer 3"),
        ({"architecture": "standard", "metadata": {"hook_head_index": 2}}, "reads one attention head only"),
    ],
)
def test_what_sae_lens_holds_and_no_sae_here_can_be_is_refused(tmp_path, config, message):
    layouts.write_sae_lens(tmp_path, matrices(), **config)
    refused(tmp_path, "sae_lens", message)


def test_a_threshold_that_the_config_does_not_know_of_is_refused(tmp_path):
    layouts.write_sae_lens(tmp_path, {**matrices(), "threshold": thresholds()}, architecture="standard")
    refused(tmp_path, "sae_lens", r"architecture is 'standard', but sae_weights\.safetensors holds a threshold")


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("which", "message"),
    [
        ({"path": 3}, "'sae_lens': path must be text, got 3"),
        ({"norm_scaling_factor": "2"}, "norm_scaling_factor must be a number or null, got '2'"),
        ({"centre_input": "yes"}, "centre_input must be true or false, got 'yes'"),
        ({"revision": 1.5}, "revision must be text or null, got 1.5"),
    ],
)
def test_what_picks_an_sae_must_be_of_its_kind(tmp_path, which, message):
    layouts.write_sae_lens(tmp_path, matrices(), architecture="standard")
    refused(tmp_path, "sae_lens", message, **which)


def test_fine_tuned_scales_are_refused_unless_they_are_one(tmp_path):
    layouts.write_old_sae_lens(tmp_path, {**matrices(), "scaling_factor": torch.ones(D_SAE)})
    assert load_sae("sae_lens", str(tmp_path), layer=3).d_sae == D_SAE
    layouts.write_old_sae_lens(tmp_path, {**matrices(), "scaling_factor": torch.full((D_SAE,), 2.0)})
    refused(tmp_path, "sae_lens", "scaling_factor is not one")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "topk"}, "architecture must be 'jump_relu', got 'topk'"),
        ({"affine_connection": True}, "affine connection"),
        ({"hf_hook_point_out": "model.layers.3.mlp.output"}, "a transcoder, no SAE"),
        ({"width": 12}, "d_sae is 12 there"),
    ],
)
def test_gemma_scope_2_refusals(tmp_path, config, message):
    layouts.write_gemma_scope_2(tmp_path, layouts.gemma_scope_2_tensors(), **config)
    refused(tmp_path, "gemma_scope_2", message, width=D_SAE, l0="medium")


@pytest.mark.usefixtures("as_a_user")
def test_gemma_scope_2_offers_its_l0s(tmp_path):
    refused(tmp_path, "gemma_scope_2", "is one of small, medium, big, got 71", width="16k", l0=71)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"act_fn": "topk"}, "act_fn must be 'jumprelu'"),
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"dataset_average_activation_norm": None}, "dataset_average_activation_norm must be an object"),
        ({"dataset_average_activation_norm": {"in": 0}}, "must be positive and finite"),
        ({"jump_relu_threshold": None}, "jump_relu_threshold must be a number"),
        ({"d_sae": 12}, "d_sae is 12 there"),
        ({"hook_point_out": "blocks.3.hook_mlp_out"}, "a transcoder, no SAE"),
        ({"use_glu_encoder": True}, "gated linear unit"),
    ],
)
def test_llama_scope_refusals(tmp_path, config, message):
    layouts.write_llama_scope(tmp_path, linear(b_dec="decoder.bias"), **config)
    refused(tmp_path, "llama_scope", message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"transcode": True}, "it is a transcoder"),
        ({"activation": "groupmax"}, "activation must be 'topk', got 'groupmax'"),
        ({"signed": True}, "features may be negative"),
        ({"d_in": 7}, "d_in is 7 there"),
    ],
)
def test_sparsify_refusals(tmp_path, config, message):
    layouts.write_sparsify(tmp_path, layouts.sparsify_tensors(), **config)
    refused(tmp_path, "sparsify", message)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"dict_class": "CrossCoder"}, "dict_class must be one of AutoEncoder, .*, got 'CrossCoder'"),
        ({"layer": 5}, "the SAE is of layer 5, not of layer 3"),
        ({"dict_size": 12}, "d_sae is 12 there"),
        ({"k": 4}, r"k is 4 there and 3 in ae\.pt"),
        ({"dict_class": "BatchTopKSAE"}, "threshold is -1: training ended before it was set"),
    ],
)
def test_dictionary_learning_refusals(tmp_path, trainer, message):
    tensors, _ = DICTIONARIES["AutoEncoderTopK"]
    layouts.write_dictionary_learning(tmp_path, **{"dict_class": "AutoEncoderTopK", "tensors": tensors, **trainer})
    refused(tmp_path, "dictionary_learning", message)


def test_files_are_listed_without_being_read(tmp_path):
    layouts.write_sparsify(tmp_path, layouts.sparsify_tensors())
    (tmp_path / "layers.3" / "sae.safetensors").write_bytes(b"12345")
    config, weights = sae_files("sparsify", str(tmp_path), layer=3)
    assert (config.path, weights.path) == ("layers.3/cfg.json", "layers.3/sae.safetensors")
    assert (weights.bytes, weights.is_local) == (5, True)


@pytest.mark.parametrize("ask", [load_sae, sae_files])
def test_listing_refuses_what_loading_refuses(tmp_path, ask):
    layouts.write_sparsify(tmp_path, layouts.sparsify_tensors())
    with pytest.raises(UserError, match=r"no file layers\.5/cfg\.json .*; the nearest to layers\.5 is layers\.3"):
        ask("sparsify", str(tmp_path), layer=5)
    with pytest.raises(UserError, match="got an unexpected keyword argument 'width'; it takes layer, path, revision"):
        ask("sparsify", str(tmp_path), layer=3, width="16k")
    with pytest.raises(UserError, match="unknown SAE format 'gema'; there are gemma_scope, gemma_scope_2"):
        ask("gema", str(tmp_path), layer=3)


def test_every_format_is_tested_here_or_on_its_own():
    on_its_own = {"circuit_tracer", "gemma_scope_2_crosscoder", "llamascopium", "qwen_scope", "state_dict"}
    assert {*FORMATS} - on_its_own == {
        "gemma_scope",
        "gemma_scope_2",
        "llama_scope",
        "sae_lens",
        "sparsify",
        "dictionary_learning",
    }
