"""Small dictionaries in the public layouts of what is not in `layouts`."""

import json

import torch
import yaml
from safetensors.torch import save_file

from tests.saes.formats import layouts
from tests.saes.formats.layouts import D_IN, D_SAE, gemma_scope_2_tensors, linear, matrices, normal, thresholds

TRANSCODER = "transcoder"
FACTOR = 2.5


def turned(dtype=torch.float32):
    """Both matrices the other way round."""
    return {name: tensor.T.contiguous() if tensor.ndim == 2 else tensor for name, tensor in matrices(dtype).items()}


def write_qwen_scope(folder, tensors=None, **config):
    said = {"model_type": "topk_sae", "base_model": "o/m", "d_model": D_IN, "d_sae": D_SAE, "k": 3, "num_layers": 5}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**said, "hook_point": "residual", **config}))
    torch.save(tensors or turned(), folder / "layer3.sae.pt")
    return folder


def today(dtype=torch.float32):
    ours = matrices(dtype)
    return {"W_E": ours["W_enc"], "b_E": ours["b_enc"], "W_D": ours["W_dec"], "b_D": ours["b_dec"]}


HOOK = "blocks.3.hook_resid_post"
NORMS = {f"dataset_average_activation_norm.{HOOK}": torch.tensor(4.0)}


def log_threshold(dtype=torch.float32):
    return {"log_jumprelu_threshold": thresholds(dtype).log()}


def write_llamascopium(folder, tensors=None, **config):
    said = {
        "sae_type": "sae",
        "d_model": D_IN,
        "expansion_factor": 2,
        "d_sae": D_SAE,
        "act_fn": "jumprelu",
        "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": True,
        "use_decoder_bias": True,
        "hook_point_in": HOOK,
        "hook_point_out": HOOK,
    }
    tensors = {**today(), **log_threshold(), **NORMS} if tensors is None else tensors
    layouts.write(folder / "L3R", {**said, **config}, tensors, config_name="config.json")
    return folder


def write_r1_distill(folder, dtype=torch.float32, **config):
    """As the published ones: no norm in the file, features by their own values."""
    tensors = {**linear(dtype, "decoder.bias"), **log_threshold(dtype)}
    return write_llamascopium(folder, tensors, sparsity_include_decoder_norm=False, **config)


def rows(dtype=torch.float32):
    """One row a feature, of encoder and decoder."""
    ours = matrices(dtype)
    return {**ours, "W_enc": ours["W_enc"].T.contiguous()}


def skip(dtype=torch.float32):
    return normal(9, D_IN, D_IN, dtype=dtype)


def write_circuit_tracer(folder, tensors=None, **config):
    folder.mkdir(parents=True, exist_ok=True)
    said = {"model_name": "o/m", "model_kind": "transcoder_set", "feature_input_hook": "mlp.hook_in"}
    (folder / "config.yaml").write_text(yaml.safe_dump({**said, "feature_output_hook": "hook_mlp_out", **config}))
    (folder / "wandb-config.yaml").write_text(
        yaml.safe_dump({"d_model": {"value": D_IN}, "d_feature": {"value": D_SAE}, "batch_size": {"value": 1}})
    )
    save_file(tensors or rows(), folder / "layer_3.safetensors")
    return folder


def goodfire(dtype=torch.float32):
    return {name.replace("coder.", "coder_linear."): one for name, one in linear(dtype, "decoder.bias").items()}


def write_state_dict(folder, tensors=None, name="SAE-l3.pth"):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors or goodfire(), folder / name)
    return folder


def write_transcoder(folder, tensors=None, *, affine=True, **config):
    """A transcoder in Gemma Scope 2's layout."""
    tensors = tensors or gemma_scope_2_tensors() | ({"affine_skip_connection": skip()} if affine else {})
    place = "model.layers.3.{}_feedforward_layernorm.output".format
    said = {"hf_hook_point_in": place("pre"), "hf_hook_point_out": place("post"), "affine_connection": affine}
    said = {**said, "type": "transcoder", **config}
    source = layouts.write_gemma_scope_2(folder, tensors, site=TRANSCODER, **said)
    plain = folder / TRANSCODER / f"layer_3_width_{D_SAE}_l0_medium"
    if affine:
        plain.rename(plain.with_name(f"{plain.name}_affine"))
    return source


def crosscoder(at, dtype=torch.float32):
    """One layer's file: its encoder, and the decoder of all."""
    return {
        **gemma_scope_2_tensors(dtype),
        "w_enc": normal(20 + at, D_IN, D_SAE, dtype=dtype),
        "w_dec": normal(30, D_SAE, 2, D_IN, dtype=dtype),
        "b_dec": normal(40, 2, D_IN, dtype=dtype),
    }


def write_crosscoder(folder, **config):
    inside = folder / "crosscoder" / f"layer_3_5_width_{D_SAE}_l0_medium"
    for at in range(2):
        said = {"type": "crosscoder", "width": D_SAE, "architecture": "jump_relu", **config}
        name = f"params_layer_{at}.safetensors"
        layouts.write(inside, said, crosscoder(at), config_name="config.json", weights_name=name)
    return folder
