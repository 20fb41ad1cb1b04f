"""The layout of the package dictionary_learning: a folder with `config.json` and `ae.pt`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sae_match.errors import UserError, shown
from sae_match.saes.formats.shared.building import build, build_gated, on_shifted_input, refuse_contradiction
from sae_match.saes.formats.shared.describing import SAEDescription, described_by
from sae_match.saes.formats.shared.hub import fetch
from sae_match.saes.formats.shared.kinds import refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.places import Said, agreed_place, said_by_folder, said_by_hook, said_by_number
from sae_match.saes.formats.shared.reading import (
    in_folder,
    matrix,
    read_json,
    read_pickled_tensors,
    section,
    stated,
    tensor,
)
from sae_match.saes.sae import SAE

LAYOUT = Layout(r"(?P<path>(?:.*/)?)ae\.pt", ("config.json",), "resid_post_layer_3/trainer_0/ae.pt")
_Tensors = dict[str, Tensor]
_SIZES = {"d_in": "activation_dim", "d_sae": "dict_size"}


def load(source: str, *, layer: int, path: str = ".", revision: str | None = None) -> SAE:
    """Load one SAE that the package dictionary_learning saved.

    Args:
        source: A folder or a hub repository.
        layer: Decoder layer that the SAE belongs to.
        path: The SAE's folder inside the source, with `{layer}` where the layer's number goes; `.` if
            the source is that folder.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such SAE, a file is not sound, `ae.pt` holds more than tensors, config
            and tensors contradict each other, or the class of the SAE is not one of those known here.
    """
    config_path, weights_path = paths(layer=layer, path=path)
    config_file = fetch(source, config_path, revision)
    config = read_json(config_file)
    trainer = section(config_file, config, "trainer")
    kind = trainer.get("dict_class")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UserError(f"{config_file}: dict_class must be one of {', '.join(_KINDS)}, got {shown(kind)}")
    agreed_place(layer, _said(source, config_path, config_file, trainer))
    file = fetch(source, weights_path, revision)
    tensors = read_pickled_tensors(file)
    of_kind = _KINDS[kind]
    refuse_other_names(file, tensors, of_kind.tensors)
    sae = of_kind.build(file, tensors)
    sizes = {ours: stated(config_file, trainer, key) for ours, key in _SIZES.items()}
    refuse_contradiction(config_file, sae, **sizes)
    refuse_contradiction(config_file, sae, d_in=_width_read(config_file, config))
    k = stated(config_file, trainer, "k")
    if None not in (k, sae.k) and k != sae.k:
        raise UserError(f"{config_file}: k is {k} there and {sae.k} in {file.name}")
    return sae


def describe(source: str, *, layer: int, path: str, revision: str | None) -> SAEDescription:
    """What the SAE is, by its config; arguments as for `load`."""
    config_path = paths(layer=layer, path=path)[0]
    file = fetch(source, config_path, revision)
    trainer = section(file, read_json(file), "trainer")
    place = agreed_place(layer, _said(source, config_path, file, trainer))
    known = trainer.get("dict_class") not in _WITHOUT_THRESHOLDS
    return replace(described_by(file, trainer, **_SIZES, hook=place), has_thresholds=known)


def paths(*, layer: int, path: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [in_folder(path, layer, "config.json"), in_folder(path, layer, "ae.pt")]


def _said(source: str, config_path: str, file: Path, trainer: dict[str, Any]) -> list[Said]:
    """What config and folder say of the place that the SAE reads."""
    return [
        *said_by_hook(file, trainer.get("submodule_name")),
        *said_by_number(file, stated(file, trainer, "layer")),
        *said_by_folder(source, config_path),
    ]


def _width_read(file: Path, config: dict[str, Any]) -> int | None:
    """Width of the activations that were read in training, where the config says it."""
    return None if config.get("buffer") is None else stated(file, section(file, config, "buffer"), "d_submodule")


def _relu(file: Path, tensors: _Tensors) -> SAE:
    return on_shifted_input(build(file, **_linear(file, tensors, "bias"), activation="relu"))


def _relu_without_shift(file: Path, tensors: _Tensors) -> SAE:
    return build(file, **_linear(file, tensors, "decoder.bias"), activation="relu")


def _top_k(file: Path, tensors: _Tensors) -> SAE:
    k = tensor(file, tensors, "k")
    if k.numel() != 1 or not torch.isfinite(k).all() or float(k) != int(k):
        raise UserError(f"{file}: k must be one whole number, got {k.tolist()}")
    return on_shifted_input(build(file, **_linear(file, tensors, "b_dec"), activation="topk", k=int(k)))


def _batch_top_k(file: Path, tensors: _Tensors) -> SAE:
    return on_shifted_input(build(file, **_linear(file, tensors, "b_dec"), threshold=_learnt(file, tensors)))


def _matryoshka(file: Path, tensors: _Tensors) -> SAE:
    return on_shifted_input(build(file, **_matrices(file, tensors), threshold=_learnt(file, tensors)))


def _jump_relu(file: Path, tensors: _Tensors) -> SAE:
    return build(file, **_matrices(file, tensors), threshold=tensor(file, tensors, "threshold"))


def _gated(file: Path, tensors: _Tensors) -> SAE:
    gated = build_gated(
        file,
        W_enc=matrix(file, tensors, "encoder.weight").T,
        b_gate=tensor(file, tensors, "gate_bias"),
        r_mag=tensor(file, tensors, "r_mag"),
        b_mag=tensor(file, tensors, "mag_bias"),
        W_dec=matrix(file, tensors, "decoder.weight").T,
        b_dec=tensor(file, tensors, "decoder_bias"),
    )
    return on_shifted_input(gated)


class _Kind(NamedTuple):
    """How an SAE of a class is made of tensors, and which of them there may be."""

    build: Callable[[Path, _Tensors], SAE]
    tensors: tuple[str, ...]


_WITHOUT_THRESHOLDS = ("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK")
_LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
_GATED = ("encoder.weight", "gate_bias", "r_mag", "mag_bias", "decoder.weight", "decoder_bias")
_KINDS = {
    "AutoEncoder": _Kind(_relu, (*_LINEAR, "bias")),
    "AutoEncoderNew": _Kind(_relu_without_shift, (*_LINEAR, "decoder.bias")),
    # A threshold that only another way of encoding asks about.
    "AutoEncoderTopK": _Kind(_top_k, (*_LINEAR, "b_dec", "k", "threshold")),
    "BatchTopKSAE": _Kind(_batch_top_k, (*_LINEAR, "b_dec", "k", "threshold")),
    "MatryoshkaBatchTopKSAE": _Kind(_matryoshka, (*_MATRICES, "k", "threshold", "group_sizes")),
    "JumpReluAutoEncoder": _Kind(_jump_relu, (*_MATRICES, "threshold")),
    "GatedAutoEncoder": _Kind(_gated, _GATED),
}


def _linear(file: Path, tensors: _Tensors, bias: str) -> dict[str, Any]:
    """Parameters that torch's linear layers hold, one row an output."""
    return {
        "W_enc": matrix(file, tensors, "encoder.weight").T,
        "b_enc": tensor(file, tensors, "encoder.bias"),
        "W_dec": matrix(file, tensors, "decoder.weight").T,
        "b_dec": tensor(file, tensors, bias),
    }


def _matrices(file: Path, tensors: _Tensors) -> dict[str, Any]:
    return {name: tensor(file, tensors, name) for name in _MATRICES}


def _learnt(file: Path, tensors: _Tensors) -> Tensor:
    """The one threshold of all features, which training sets late; before that it is negative."""
    threshold = tensor(file, tensors, "threshold")
    if threshold.numel() == 1 and float(threshold) < 0:
        raise UserError(f"{file}: threshold is {float(threshold):g}: training ended before it was set")
    return threshold
