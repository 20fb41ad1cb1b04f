"""Gemma Scope 2's crosscoders: one dictionary over several layers, seen as one SAE a layer."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sae_match.errors import UserError, shown
from sae_match.saes.formats.gemma_scope import features_of
from sae_match.saes.formats.shared.building import build, refuse_contradiction
from sae_match.saes.formats.shared.describing import SAEDescription
from sae_match.saes.formats.shared.hub import fetch, fetch_if_any
from sae_match.saes.formats.shared.kinds import refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.reading import read_json, read_safetensors, stated, tensor
from sae_match.saes.sae import CROSSCODING, SAE

_FOLDER = r"(?P<site>crosscoder\w*)/layer_(?P<layers>\d+(?:_\d+)+)_width_(?P<width>[^_/]+)_l0_(?P<l0>\w+)"
LAYOUT = Layout(
    rf"{_FOLDER}/params_layer_(?P<view>\d+)\.safetensors",
    example="crosscoder/layer_9_17_22_29_width_65k_l0_medium/params_layer_0.safetensors",
    optional=("config.json",),
)
_TENSORS = {"W_enc": "w_enc", "b_enc": "b_enc", "W_dec": "w_dec", "b_dec": "b_dec", "threshold": "threshold"}


def load(
    source: str,
    *,
    layer: int,
    layers: str | Sequence[int],
    width: str | int,
    l0: str,
    site: str = "crosscoder",
    revision: str | None = None,
) -> SAE:
    """Load what a crosscoder is at one of its layers.

    Its features are the same at each layer: between two of them feature `i` belongs to feature `i`, a published
    truth to hold a matching against. What a feature is worth depends on all layers, so a view cannot be evaluated.

    Args:
        source: A folder, or a repository such as `google/gemma-scope-2-4b-pt`.
        layer: One of the crosscoder's layers.
        layers: All of them, as numbers or as in the path: `9_17_22_29`.
        width: As in the path: `65k`.
        l0: As in the path: `medium`.
        site: The folder that holds the crosscoders.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such crosscoder, it has no such layer, or a file is not sound.
    """
    config_path, path = paths(layer=layer, layers=layers, width=width, l0=l0, site=site)
    config_file = fetch_if_any(source, config_path, revision)
    config = {} if config_file is None else read_json(config_file)
    if config.get("type", "crosscoder") != "crosscoder":
        raise UserError(f"{config_file}: type must be 'crosscoder', got {shown(config['type'])}")
    file = fetch(source, path, revision)
    tensors, at = read_safetensors(file), _numbers(layers).index(layer)
    refuse_other_names(file, tensors, _TENSORS.values())
    given: dict[str, Any] = {ours: tensor(file, tensors, name) for ours, name in _TENSORS.items()}
    # With a row for each layer, or this layer's alone.
    views = len(_numbers(layers))
    for name, dimension in (("W_dec", 1), ("b_dec", 0)):
        given[name] = _of_layer(file, given[name], dimension, views, at)
    sae = build(file, **given, crosscoder=True)
    refuse_contradiction(config_file or file, sae, d_sae=stated(config_file or file, config, "width"))
    refuse_contradiction(file, sae, d_sae=features_of(str(width)))
    return sae


def describe(*, layer: int, layers: str | Sequence[int], width: str | int) -> SAEDescription:
    """What the view is, by its folder's name; arguments as for `load`."""
    _refuse_other_layer(layer, layers)
    said = SAEDescription(None, features_of(str(width)), f"model.layers.{layer}.output", has_thresholds=True)
    return replace(said, unmeasurable=CROSSCODING)


def paths(*, layer: int, layers: object, width: str | int, l0: str, site: str) -> list[str]:
    """Paths of the files that a view is read from; arguments as for `load`."""
    _refuse_other_layer(layer, layers)
    named = "_".join(map(str, _numbers(layers)))
    folder = f"{site}/layer_{named}_width_{width}_l0_{l0}"
    return [f"{folder}/config.json", f"{folder}/params_layer_{_numbers(layers).index(layer)}.safetensors"]


def _numbers(layers: object) -> list[int]:
    """A crosscoder's layers.

    Raises:
        UserError: If there are not several; to YAML and to Hydra `9_17_22_29` is one number.
    """
    named = layers.split("_") if isinstance(layers, str) else layers
    if not isinstance(named, Sequence) or not all(str(one).isdecimal() for one in named):
        raise UserError(f"a crosscoder's layers are a list such as [9,17,22,29], got {shown(layers)}")
    return [int(one) for one in named]


def _refuse_other_layer(layer: int, layers: object) -> None:
    if layer not in (there := _numbers(layers)):
        raise UserError(f"the crosscoder has the layers {', '.join(map(str, there))}, not {layer}")


def _of_layer(file: Path, held: Tensor, dimension: int, views: int, at: int) -> Tensor:
    """The part of one layer, where there is one for each; the file's own where it holds just one."""
    if held.ndim != dimension + 2:
        return held
    if held.shape[dimension] not in (1, views):
        raise UserError(f"{file}: the decoder has {held.shape[dimension]} layers, the folder names {views}")
    return held.select(dimension, at if held.shape[dimension] == views else 0)
