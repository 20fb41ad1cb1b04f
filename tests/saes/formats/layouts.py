"""Small SAEs in the public layouts, with tensors that the tests know."""

import json

import torch
from safetensors.torch import save_file

D_IN, D_SAE = 6, 10


def normal(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def matrices(dtype=torch.float32):
    """Parameters of an SAE as SAELens names them."""
    return {
        "W_enc": normal(0, D_IN, D_SAE, dtype=dtype),
        "b_enc": normal(1, D_SAE, dtype=dtype),
        "W_dec": normal(2, D_SAE, D_IN, dtype=dtype),
        "b_dec": normal(3, D_IN, dtype=dtype),
    }


def thresholds(dtype=torch.float32):
    return normal(4, D_SAE, dtype=dtype).abs()


def linear(dtype=torch.float32, b_dec="b_dec"):
    """The same parameters as torch's linear layers hold them, one row an output."""
    ours = matrices(dtype)
    return {
        "encoder.weight": ours["W_enc"].T.contiguous(),
        "encoder.bias": ours["b_enc"],
        "decoder.weight": ours["W_dec"].T.contiguous(),
        b_dec: ours["b_dec"],
    }


def activations(dtype=torch.float32):
    return 2 * normal(5, 50, D_IN, dtype=dtype)


def write(folder, config, tensors, *, config_name="cfg.json", weights_name="sae_weights.safetensors"):
    """A folder with a config and its tensors; returns the folder."""
    weights = folder / weights_name
    weights.parent.mkdir(parents=True, exist_ok=True)
    (folder / config_name).write_text(json.dumps(config))
    if weights.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    else:
        torch.save(tensors, weights)
    return folder


def write_sae_lens(folder, tensors, **config):
    dtype = str(tensors["W_enc"].dtype).removeprefix("torch.")
    about = {"model_name": "m", "hook_name": "blocks.3.hook_resid_post", "sae_lens_version": "6.5.0"}
    return write(folder, {"d_in": D_IN, "d_sae": D_SAE, "dtype": dtype, "metadata": about, **config}, tensors)


def write_old_sae_lens(folder, tensors, **config):
    dtype = str(tensors["W_enc"].dtype).removeprefix("torch.")
    about = {"model_name": "m", "hook_name": "blocks.3.hook_resid_post", "hook_point_layer": 3}
    return write(folder, {"d_in": D_IN, "d_sae": D_SAE, "dtype": dtype, **about, **config}, tensors)


def write_gemma_scope_2(source, tensors, *, site="resid_post", **config):
    folder = source / site / f"layer_3_width_{D_SAE}_l0_medium"
    hook = "model.layers.3.output"
    said = {"architecture": "jump_relu", "width": D_SAE, "hf_hook_point_in": hook, "hf_hook_point_out": hook}
    said |= {"affine_connection": False, "type": "sae", "l0": 60, "model_name": "gemma-v3-4b-pt"}
    write(folder, {**said, **config}, tensors, config_name="config.json", weights_name="params.safetensors")
    return source


def gemma_scope_2_tensors(dtype=torch.float32):
    return {**{name.lower(): tensor for name, tensor in matrices(dtype).items()}, "threshold": thresholds(dtype)}


def write_llama_scope(source, tensors, **config):
    said = {
        "d_model": D_IN,
        "d_sae": D_SAE,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.5,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 4.0, "out": 4.0},
        "sparsity_include_decoder_norm": True,
        "use_decoder_bias": True,
        "hook_point_in": "blocks.3.hook_resid_post",
        "hook_point_out": "blocks.3.hook_resid_post",
    }
    folder = source / "Llama3_1-8B-Base-L3R-8x"
    weights_name = "checkpoints/final.safetensors"
    write(folder, {**said, **config}, tensors, config_name="hyperparams.json", weights_name=weights_name)
    return source


def write_sparsify(source, tensors, **config):
    said = {"d_in": D_IN, "num_latents": D_SAE, "expansion_factor": 32, "k": 3, "normalize_decoder": True}
    write(source / "layers.3", {**said, **config}, tensors, weights_name="sae.safetensors")
    return source


def sparsify_tensors(dtype=torch.float32):
    tensors = linear(dtype)
    tensors["W_dec"] = tensors.pop("decoder.weight").T.contiguous()
    return tensors


def write_dictionary_learning(folder, dict_class, tensors, **trainer):
    said = {"dict_class": dict_class, "activation_dim": D_IN, "dict_size": D_SAE, "layer": 3, "lm_name": "o/m"}
    config = {"trainer": {**said, **trainer}, "buffer": {"ctx_len": 128}}
    return write(folder, config, tensors, config_name="config.json", weights_name="ae.pt")
