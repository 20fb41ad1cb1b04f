"""The formats of transcoders, crosscoders and the scopes of 2025 and 2026: what is loaded is what the formula says."""

import pytest
import torch

from sae_match import load_sae, match
from sae_match.errors import UserError
from sae_match.saes.formats import FORMATS, describe_sae
from sae_match.saes.sae import CrosscoderView, Transcoder
from tests.saes.formats import layouts, more_layouts
from tests.saes.formats.layouts import D_IN, D_SAE, activations, linear, matrices, thresholds

DOUBLE = torch.float64
X = activations(DOUBLE)
OURS = matrices(DOUBLE)
Z = X @ OURS["W_enc"] + OURS["b_enc"]


def above(z, threshold):
    return torch.relu(z) * (z > threshold)


def top(z, k):
    kept = torch.zeros_like(z).scatter(-1, z.topk(k, dim=-1).indices, 1.0)
    return torch.relu(z) * kept


def decoded(f):
    return f @ OURS["W_dec"] + OURS["b_dec"]


def folded_norms():
    """Scaled activations, gated by products with decoder norms: values and reconstruction."""
    s, norms = D_IN**0.5 / 4.0, OURS["W_dec"].norm(dim=1)
    f = above((s * X @ OURS["W_enc"] + OURS["b_enc"]) * norms, thresholds(DOUBLE)) / norms
    return f * norms, decoded(f) / s


def r1_distill():
    f = above(more_layouts.FACTOR * X @ OURS["W_enc"] + OURS["b_enc"], thresholds(DOUBLE))
    return f, decoded(f) / more_layouts.FACTOR


def through(f, skip=None):
    return f, decoded(f) if skip is None else decoded(f) + X @ skip


SKIP = more_layouts.skip(DOUBLE)
SHIFTED = torch.relu((X - OURS["b_dec"]) @ OURS["W_enc"] + OURS["b_enc"])
TRANSCODER = {"site": "transcoder", "width": D_SAE}
AFFINE = layouts.gemma_scope_2_tensors(DOUBLE) | {"affine_skip_connection": SKIP}
# What is written, what picks it, and its features and output.
CASES = {
    "qwen_scope": (lambda at: more_layouts.write_qwen_scope(at, more_layouts.turned(DOUBLE)), {}, through(top(Z, 3))),
    "llamascopium": (
        lambda at: more_layouts.write_llamascopium(
            at, {**more_layouts.today(DOUBLE), **more_layouts.log_threshold(DOUBLE), **more_layouts.NORMS}
        ),
        {},
        folded_norms(),
    ),
    "llamascopium, as in R1-Distill": (
        lambda at: more_layouts.write_r1_distill(at, DOUBLE),
        {"norm_scaling_factor": more_layouts.FACTOR},
        r1_distill(),
    ),
    "llamascopium, TopK": (
        lambda at: more_layouts.write_llamascopium(
            at,
            more_layouts.today(DOUBLE),
            act_fn="topk",
            top_k=3,
            norm_activation="inference",
            sparsity_include_decoder_norm=False,
        ),
        {},
        through(top(Z, 3)),
    ),
    "circuit_tracer": (
        lambda at: more_layouts.write_circuit_tracer(at, more_layouts.rows(DOUBLE)),
        {},
        through(torch.relu(Z)),
    ),
    "circuit_tracer, with thresholds and a map": (
        lambda at: more_layouts.write_circuit_tracer(
            at,
            {
                **more_layouts.rows(DOUBLE),
                "W_skip": SKIP.T.contiguous(),
                "activation_function.threshold": thresholds(DOUBLE),
            },
        ),
        {},
        through(above(Z, thresholds(DOUBLE)), SKIP),
    ),
    "state_dict": (
        lambda at: more_layouts.write_state_dict(at, more_layouts.goodfire(DOUBLE)),
        {"path": "SAE-l3.pth"},
        through(torch.relu(Z)),
    ),
    "state_dict, plain names": (
        lambda at: more_layouts.write_state_dict(at, linear(DOUBLE, "decoder.bias")),
        {"path": "SAE-l{layer}.pth"},
        through(torch.relu(Z)),
    ),
    "state_dict, shifted": (
        lambda at: more_layouts.write_state_dict(at, matrices(DOUBLE), "a.pt"),
        {"path": "a.pt", "subtract_b_dec": True},
        through(SHIFTED),
    ),
    "gemma_scope_2, transcoder": (
        lambda at: more_layouts.write_transcoder(at, layouts.gemma_scope_2_tensors(DOUBLE), affine=False),
        {**TRANSCODER, "l0": "medium"},
        through(above(Z, thresholds(DOUBLE))),
    ),
    "gemma_scope_2, affine transcoder": (
        lambda at: more_layouts.write_transcoder(at, AFFINE),
        {**TRANSCODER, "l0": "medium_affine"},
        through(above(Z, thresholds(DOUBLE)), SKIP),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_features_and_output_are_those_of_the_formula(tmp_path, case):
    write, which, (f, x_hat) = CASES[case]
    name = case.partition(",")[0]
    sae = load_sae(name, str(write(tmp_path)), layer=3, **which)
    assert torch.allclose(sae.encode(X), f, rtol=1e-5, atol=1e-6)
    assert torch.allclose(sae(X), x_hat, rtol=1e-5, atol=1e-6)
    assert (f > 0).any()
    described = describe_sae(name, str(tmp_path), layer=3, **which)
    assert {described.d_in, described.d_sae} <= {D_IN, D_SAE, None}
    assert described.unmeasurable == sae.unmeasurable


def test_every_new_format_has_a_case():
    mine = {case.partition(",")[0] for case in CASES} | {"gemma_scope_2_crosscoder"}
    assert {*FORMATS} - {"gemma_scope", "llama_scope", "sae_lens", "sparsify", "dictionary_learning"} == mine


def test_views_of_a_crosscoder_have_one_features_rows_at_each_layer(tmp_path):
    source = str(more_layouts.write_crosscoder(tmp_path))
    picked = {"layers": "3_5", "width": D_SAE, "l0": "medium"}
    first, second = (load_sae("gemma_scope_2_crosscoder", source, layer=layer, **picked) for layer in (3, 5))
    held = more_layouts.crosscoder(0)["w_dec"]
    assert isinstance(first, CrosscoderView)
    assert torch.equal(first.W_dec, held[:, 0])
    assert torch.equal(second.W_dec, held[:, 1])
    assert torch.equal(first.b_enc, second.b_enc)
    with pytest.raises(UserError, match=r"the crosscoder has the layers 3, 5, not 4"):
        load_sae("gemma_scope_2_crosscoder", source, layer=4, **picked)


def test_a_matching_of_views_finds_the_published_truth(tmp_path):
    """Rows of one feature that resemble each other are found; what is known is that feature i is feature i."""
    source = more_layouts.write_crosscoder(tmp_path)
    picked = {"layers": "3_5", "width": D_SAE, "l0": "medium"}
    first = load_sae("gemma_scope_2_crosscoder", str(source), layer=3, **picked)
    found = match(first, first, terms=("W_dec",), fold="none")
    assert found.permutation.tolist() == list(range(D_SAE))


def test_transcoders_are_matched_by_what_they_read_or_write(tmp_path):
    source = str(more_layouts.write_transcoder(tmp_path))
    one = load_sae("gemma_scope_2", source, layer=3, **TRANSCODER, l0="medium_affine")
    assert isinstance(one, Transcoder)
    for terms in (("W_enc", "b_enc"), ("W_dec",), ("W_enc", "b_enc", "W_dec")):
        assert match(one, one, terms=terms).permutation.tolist() == list(range(D_SAE))


def test_a_folder_without_a_config_is_read_by_its_name_and_tensors(tmp_path):
    source = layouts.write_gemma_scope_2(tmp_path, layouts.gemma_scope_2_tensors())
    [config] = source.rglob("config.json")
    whole = load_sae("gemma_scope_2", str(source), layer=3, width=D_SAE, l0="medium")
    config.unlink()
    assert (
        load_sae("gemma_scope_2", str(source), layer=3, width=D_SAE, l0="medium").content_hash() == whole.content_hash()
    )
    assert describe_sae("gemma_scope_2", str(source), layer=3, width=D_SAE, l0="medium").d_in == D_IN


def test_a_second_seed_is_read(tmp_path):
    source = layouts.write_gemma_scope_2(tmp_path, layouts.gemma_scope_2_tensors())
    [folder] = (source / "resid_post").iterdir()
    folder.rename(folder.with_name(f"{folder.name}_seed_1"))
    assert load_sae("gemma_scope_2", str(source), layer=3, width=D_SAE, l0="medium_seed_1").d_sae == D_SAE


REFUSED = {
    "a transcoder's config in a folder of SAEs": (
        lambda at: layouts.write_gemma_scope_2(
            at,
            layouts.gemma_scope_2_tensors(),
            hf_hook_point_in="model.layers.3.pre_feedforward_layernorm.output",
            hf_hook_point_out="model.layers.3.post_feedforward_layernorm.output",
        ),
        "gemma_scope_2",
        {"width": D_SAE, "l0": "medium"},
        "a transcoder, no SAE",
    ),
    "a transcoder that writes the attention's place": (
        lambda at: more_layouts.write_transcoder(
            at, affine=False, hf_hook_point_out="model.layers.3.self_attn.o_proj.output"
        ),
        "gemma_scope_2",
        {**TRANSCODER, "l0": "medium"},
        "not what the MLP of layer 3 gives",
    ),
    "another k by name and config": (
        lambda at: more_layouts.write_qwen_scope(at / "SAE-Res-Q-W1K-L0_50", d_sae=1024, k=3),
        "qwen_scope",
        {},
        "k is 3 and 50, by config, name and settings",
    ),
    "another kind of set": (
        lambda at: more_layouts.write_circuit_tracer(at, model_kind="cross_layer_transcoder"),
        "circuit_tracer",
        {},
        "cross-layer transcoders write every later layer",
    ),
    "no factor": (
        more_layouts.write_r1_distill,
        "llamascopium",
        {},
        "give the factor as norm_scaling_factor",
    ),
    "a layer of another name": (
        lambda at: more_layouts.write_state_dict(at, name="SAE-l4.pth"),
        "state_dict",
        {"path": "SAE-l4.pth"},
        "the SAE is of layer 4, not of layer 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_is_refused_by_name(tmp_path, case):
    write, name, which, message = REFUSED[case]
    source = write(tmp_path)
    with pytest.raises(UserError, match=message):
        load_sae(name, str(source), layer=3, **which)


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(("name", "file"), [("qwen_scope", "layer3.sae.pt"), ("state_dict", "SAE-l3.pth")])
def test_a_pickle_with_code_is_not_opened(tmp_path, name, file, capsys):
    more_layouts.write_qwen_scope(tmp_path)
    torch.save({"W_enc": Code()}, tmp_path / file)
    which = {"path": file} if name == "state_dict" else {}
    with pytest.raises(UserError, match="holds more than tensors, which could run code and is not opened"):
        load_sae(name, str(tmp_path), layer=3, **which)
    assert capsys.readouterr().out == ""


def test_saes_that_normalise_each_token_are_loaded_and_say_that_they_are_not_evaluated(tmp_path):
    layouts.write_sae_lens(tmp_path, matrices(DOUBLE), architecture="topk", k=3, normalize_activations="layer_norm")
    sae = load_sae("sae_lens", str(tmp_path), layer=3)
    assert sae.input_norm == "layer_norm"
    assert sae.content_hash() != load_sae("sae_lens", str(tmp_path), layer=3, input_norm="constant_norm").content_hash()
    described = describe_sae("sae_lens", str(tmp_path), layer=3)
    assert described.unmeasurable == sae.unmeasurable
    assert "layer_norm" in sae.unmeasurable


HALVES = {
    "qwen_scope": (more_layouts.write_qwen_scope, more_layouts.turned, {}),
    "circuit_tracer": (more_layouts.write_circuit_tracer, more_layouts.rows, {}),
    "state_dict": (more_layouts.write_state_dict, more_layouts.goodfire, {"path": "SAE-l3.pth"}),
}


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_single(tmp_path, name, dtype):
    write, tensors, which = HALVES[name]
    sae = load_sae(name, str(write(tmp_path, tensors(dtype))), layer=3, **which)
    assert sae.W_enc.dtype == torch.float32
    assert torch.equal(sae.W_dec, matrices(dtype)["W_dec"].float())
