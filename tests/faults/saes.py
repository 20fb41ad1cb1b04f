"""A small SAE in each format, the damage that it takes, and what its file says by the format's plain formula."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from tests.conftest import random_sae
from tests.faults import mutations
from tests.saes.formats import layouts, more_layouts
from tests.saes.formats.layouts import D_IN, D_SAE, linear, matrices, thresholds

Tensors = dict[str, Tensor]
_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclass(frozen=True)
class Format:
    """A format's case.

    Attributes:
        which: What picks the SAE.
        write: Writes it into a folder.
        weights: Path of its tensors.
        formula: From the tensors of a file to those of the SAE.
        config: Path of its settings; none if it has none.
        speaking: Settings that make it another SAE, rightly.
    """

    which: dict[str, Any]
    write: Callable[[Path], object]
    weights: str
    formula: Callable[[Tensors], Tensors]
    config: str | None = None
    speaking: tuple[str, ...] = ()

    @property
    def sealed(self) -> bool:
        """Whether checksums cover the tensors."""
        return not self.weights.endswith(".safetensors")


def damaged(case: Format, folder: Path, random: Random) -> str:
    """Damage one file of an SAE; returns what may have become of it: `same`, `as said` or `sound`."""
    if case.config is not None and random.random() < 0.5:
        file = folder / case.config
        content = file.read_bytes()
        if random.random() < 0.3:
            file.write_bytes(mutations.of_bytes(random, content))
            return "same" if _parsed(file.read_bytes()) == _parsed(content) else "sound"
        changed, path = mutations.of_settings(random, content)
        file.write_bytes(changed)
        return "sound" if set(path) & set(case.speaking) else "same"
    file = folder / case.weights
    content = file.read_bytes()
    match random.randrange(3):
        case 0:
            file.write_bytes(mutations.of_bytes(random, content))
            return "same" if case.sealed else "as said"
        case 1 if case.sealed:
            ending, head = (".npy", 128) if case.weights.endswith(".npz") else (".pkl", 1 << 20)
            file.write_bytes(mutations.of_member(random, content, ending, head))
        case _:
            file.write_bytes(packed(case, mutations.of_tensors(random, unpacked(case, content))))
    return "as said"


def unpacked(case: Format, content: bytes) -> Tensors:
    """The tensors of a file, as the library that wrote it reads them."""
    if case.weights.endswith(".safetensors"):
        return load(content)
    if case.weights.endswith((".pt", ".pth")):
        read: Tensors = torch.load(io.BytesIO(content), weights_only=True)
        return read
    with np.load(io.BytesIO(content)) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


def packed(case: Format, tensors: Tensors) -> bytes:
    """The file of some tensors."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if case.weights.endswith(".safetensors"):
        return save({name: tensor.clone() for name, tensor in tensors.items()})
    written = io.BytesIO()
    if case.weights.endswith((".pt", ".pth")):
        torch.save(tensors, written)
    else:
        # numpy has no brain floats.
        known = {name: t.float() if t.dtype == torch.bfloat16 else t for name, t in tensors.items()}
        np.savez(written, **{name: tensor.numpy() for name, tensor in known.items()})
    return written.getvalue()


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content


def _linear(tensors: Tensors, b_dec: str = "b_dec", W_dec: str = "decoder.weight") -> Tensors:
    decoder = tensors[W_dec].double()
    return {
        "W_enc": tensors["encoder.weight"].double().T,
        "b_enc": tensors["encoder.bias"].double(),
        "W_dec": decoder if W_dec == "W_dec" else decoder.T,
        "b_dec": tensors[b_dec].double(),
    }


def _shifted(sae: Tensors) -> Tensors:
    return {**sae, "b_enc": sae["b_enc"] - sae["b_dec"] @ sae["W_enc"]}


def _llama(tensors: Tensors) -> Tensors:
    sae, s = _linear(tensors, "decoder.bias"), D_IN**0.5 / 4
    norms = sae["W_dec"].norm(dim=1)
    return {
        "W_enc": sae["W_enc"] * norms,
        "b_enc": sae["b_enc"] / s * norms,
        "W_dec": sae["W_dec"] / torch.where(norms > 0, norms, 1.0)[:, None],
        "b_dec": sae["b_dec"] / s,
        "threshold": torch.full((D_SAE,), 0.5),
    }


def _of_first(tensor: Tensor, ndim: int) -> Tensor:
    return tensor.select(ndim - 2, 0) if tensor.ndim == ndim else tensor


def _llamascopium(tensors: Tensors) -> Tensors:
    norm = tensors["dataset_average_activation_norm.blocks.3.hook_resid_post"].double()
    s, norms = D_IN**0.5 / norm, tensors["W_D"].double().norm(dim=1)
    return {
        "W_enc": tensors["W_E"].double() * norms * s,
        "b_enc": tensors["b_E"].double() * norms,
        "W_dec": tensors["W_D"].double() / torch.where(norms > 0, norms, 1.0)[:, None] / s,
        "b_dec": tensors["b_D"].double() / s,
        "threshold": tensors["log_jumprelu_threshold"].double().exp().expand(D_SAE),
    }


def _circuit_tracer(tensors: Tensors) -> Tensors:
    sae = {**tensors, "W_enc": tensors["W_enc"].T}
    if "W_skip" in tensors:
        sae["W_skip"] = tensors["W_skip"].T
    if "activation_function.threshold" in tensors:
        sae["threshold"] = sae.pop("activation_function.threshold").expand(D_SAE)
    return sae


def _gemma_scope(folder: Path) -> None:
    from sae_match.saes.formats import gemma_scope

    gemma_scope.save(random_sae(0), folder, layer=3, width=str(D_SAE), l0=5)


def _dictionary(folder: Path) -> None:
    tensors = {**linear(), "k": torch.tensor(3), "threshold": torch.tensor(0.7)}
    layouts.write_dictionary_learning(folder, "BatchTopKSAE", tensors, k=3, submodule_name="resid_post_layer_3")


FORMATS: dict[str, Format] = {
    "gemma_scope": Format(
        {"width": D_SAE, "l0": 5},
        _gemma_scope,
        f"layer_3/width_{D_SAE}/average_l0_5/params.npz",
        lambda tensors: {name: tensors[name] for name in (*_MATRICES, "threshold")},
    ),
    "gemma_scope_2": Format(
        {"width": D_SAE, "l0": "medium"},
        lambda folder: layouts.write_gemma_scope_2(folder, layouts.gemma_scope_2_tensors()),
        f"resid_post/layer_3_width_{D_SAE}_l0_medium/params.safetensors",
        lambda tensors: {name: tensors[name.lower()] for name in (*_MATRICES, "threshold")},
        f"resid_post/layer_3_width_{D_SAE}_l0_medium/config.json",
    ),
    "llama_scope": Format(
        {},
        lambda folder: layouts.write_llama_scope(folder, linear(b_dec="decoder.bias")),
        "Llama3_1-8B-Base-L3R-8x/checkpoints/final.safetensors",
        _llama,
        "Llama3_1-8B-Base-L3R-8x/hyperparams.json",
        (
            *("jump_relu_threshold", "norm_activation", "dataset_average_activation_norm"),
            *("sparsity_include_decoder_norm", "use_decoder_bias"),
        ),
    ),
    "sae_lens": Format(
        {},
        lambda folder: layouts.write_sae_lens(
            folder, {**matrices(), "threshold": thresholds()}, architecture="jumprelu", apply_b_dec_to_input=True
        ),
        "sae_weights.safetensors",
        lambda tensors: _shifted({name: tensors[name].double() for name in (*_MATRICES, "threshold")}),
        "cfg.json",
        ("apply_b_dec_to_input",),
    ),
    "sparsify": Format(
        {},
        lambda folder: layouts.write_sparsify(folder, layouts.sparsify_tensors()),
        "layers.3/sae.safetensors",
        lambda tensors: _shifted(_linear(tensors, W_dec="W_dec")),
        "layers.3/cfg.json",
        ("k",),
    ),
    "dictionary_learning": Format(
        {},
        _dictionary,
        "ae.pt",
        lambda tensors: {**_shifted(_linear(tensors)), "threshold": tensors["threshold"].double().expand(D_SAE)},
        "config.json",
        ("dict_class",),
    ),
    "gemma_scope_2_crosscoder": Format(
        {"layers": "3_5", "width": D_SAE, "l0": "medium"},
        more_layouts.write_crosscoder,
        f"crosscoder/layer_3_5_width_{D_SAE}_l0_medium/params_layer_0.safetensors",
        lambda tensors: {
            **{name: tensors[name.lower()] for name in ("W_enc", "b_enc", "threshold")},
            **{name: _of_first(tensors[name.lower()], ndim) for name, ndim in (("W_dec", 3), ("b_dec", 2))},
        },
        f"crosscoder/layer_3_5_width_{D_SAE}_l0_medium/config.json",
    ),
    "llamascopium": Format(
        {},
        more_layouts.write_llamascopium,
        "L3R/sae_weights.safetensors",
        _llamascopium,
        "L3R/config.json",
        (
            *("norm_activation", "sparsity_include_decoder_norm", "use_decoder_bias", "act_fn"),
            *("hook_point_in", "hook_point_out"),
        ),
    ),
    "qwen_scope": Format(
        {},
        more_layouts.write_qwen_scope,
        "layer3.sae.pt",
        lambda tensors: {name: tensors[name].T if name[0] == "W" else tensors[name] for name in _MATRICES},
        "config.json",
        ("k",),
    ),
    "circuit_tracer": Format(
        {},
        lambda folder: more_layouts.write_circuit_tracer(
            folder, {**more_layouts.rows(), "W_skip": more_layouts.skip()}
        ),
        "layer_3.safetensors",
        _circuit_tracer,
    ),
    "state_dict": Format(
        {"path": "SAE-l3.pth"},
        more_layouts.write_state_dict,
        "SAE-l3.pth",
        lambda tensors: {
            "W_enc": tensors["encoder_linear.weight"].T,
            "b_enc": tensors["encoder_linear.bias"],
            "W_dec": tensors["decoder_linear.weight"].T,
            "b_dec": tensors["decoder_linear.bias"],
        },
    ),
}
