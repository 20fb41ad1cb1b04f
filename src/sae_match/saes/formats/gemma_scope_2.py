"""Gemma Scope 2's layout: `resid_post/layer_{i}_width_{w}_l0_{small,medium,big}/`, safetensors, JumpReLU."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from sae_match.errors import UserError, shown
from sae_match.saes.formats.gemma_scope import features_of
from sae_match.saes.formats.shared.building import build, refuse_contradiction
from sae_match.saes.formats.shared.describing import SAEDescription, described_by, rows_of, width_in
from sae_match.saes.formats.shared.headers import shapes_in_safetensors
from sae_match.saes.formats.shared.hub import fetch, fetch_if_any, locate, on_this_machine
from sae_match.saes.formats.shared.kinds import refuse_other_names, refuse_transcoder
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.places import Said, agreed_place, said_by_hook
from sae_match.saes.formats.shared.reading import read_json, read_safetensors, stated, tensor, truth
from sae_match.saes.sae import SAE, TRANSCODING
from sae_match.saes.sites import Matched, Site, Spot, spot_of

LAYOUT = Layout(
    r"(?P<site>\w+)/layer_(?P<layer>\d+)_width_(?P<width>[^_/]+)_l0_(?P<l0>\w+)/params\.safetensors",
    example="resid_post/layer_17_width_16k_l0_medium/params.safetensors",
    optional=("config.json",),
)

_TENSORS = {"W_enc": "w_enc", "b_enc": "b_enc", "W_dec": "w_dec", "b_dec": "b_dec", "threshold": "threshold"}
_SKIP, _TRANSCODERS = "affine_skip_connection", "transcoder"
_L0 = ("small", "medium", "big")
# A second training seed, and a linear map beside the features.
_NAMED = re.compile(rf"({'|'.join(_L0)})(_seed_\d{{1,3}})?(_affine)?")
# What the folders of the published repositories hold; heads before their projection, or what they add.
_SITES: dict[str, tuple[Site | Matched, ...]] = {
    "resid_post": ("residual",),
    "mlp_out": ("mlp",),
    "attn_out": ("attention", "attention_output"),
    _TRANSCODERS: ("mlp_input",),
}


def load(
    source: str, *, layer: int, width: str | int, l0: str | int, site: str = "resid_post", revision: str | None = None
) -> SAE:
    """Load one SAE or transcoder from a folder or a hub repository in Gemma Scope 2's layout.

    Args:
        source: A folder, or a repository such as `google/gemma-scope-2-4b-pt`.
        layer: Decoder layer that the SAE belongs to.
        width: As in the path: `16k`, `262k`, `1m`.
        l0: `small`, `medium` or `big`; of a further training seed, as its folder says, `medium_seed_1`; of a
            transcoder with a linear map beside its features `big_affine`.
        site: Folder of the repository: `resid_post`, `mlp_out`, `attn_out`, `transcoder` (few layers, every width and
            L0), or one of these with `_all` (every layer).
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such SAE, a file is not sound, config, folder and tensors contradict each
            other, or it is no JumpReLU SAE or transcoder.
    """
    config_path, weights_path = paths(layer=layer, width=width, l0=l0, site=site)
    config_file, config = _config(source, config_path, revision)
    transcoder = _is_transcoder(config_file, config, layer, site)
    agreed_place(layer, _said(config_file, config, layer, site))
    file = fetch(source, weights_path, revision)
    tensors = read_safetensors(file)
    affine = transcoder and truth(config_file, config, "affine_connection", default=str(l0).endswith("_affine"))
    refuse_other_names(file, tensors, (*_TENSORS.values(), *([_SKIP] if affine else [])))
    skip = tensor(file, tensors, _SKIP) if affine else None
    named: dict[str, Any] = {ours: tensor(file, tensors, name) for ours, name in _TENSORS.items()}
    sae = build(file, **named, transcoder=transcoder, W_skip=skip)
    refuse_contradiction(config_file, sae, d_sae=stated(config_file, config, "width"))
    if sae.d_sae != features_of(str(width)):
        raise UserError(f"{file}: width {width} means {features_of(str(width))} features, w_enc has {sae.d_sae}")
    return sae


def describe(
    source: str, *, layer: int, width: str | int, l0: str | int, site: str, revision: str | None
) -> SAEDescription:
    """What the SAE is, by its config and its file's header or size; arguments as for `load`."""
    config_path, weights_path = paths(layer=layer, width=width, l0=l0, site=site)
    file, config = _config(source, config_path, revision)
    d_sae, place = features_of(str(width)), agreed_place(layer, _said(file, config, layer, site))
    said = described_by(file, config, d_in="", d_sae="width", hook=place)
    said = replace(said, unmeasurable=TRANSCODING if _is_transcoder(file, config, layer, site) else None)
    weights = on_this_machine(source, weights_path, revision)
    if weights is None:
        return replace(said, d_in=width_in(locate(source, weights_path, revision).bytes, said.d_sae or d_sae))
    return replace(said, d_in=rows_of(shapes_in_safetensors(weights).get("w_enc")))


def paths(*, layer: int, width: str | int, l0: str | int, site: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    if not _NAMED.fullmatch(str(l0)):
        raise UserError(
            f"l0 of a Gemma Scope 2 SAE is one of {', '.join(_L0)}, got {l0!r}; of another seed medium_seed_1, of a "
            "transcoder with a linear map big_affine"
        )
    folder = f"{site}/layer_{layer}_width_{width}_l0_{l0}"
    return [f"{folder}/config.json", f"{folder}/params.safetensors"]


def _config(source: str, path: str, revision: str | None) -> tuple[Path, dict[str, Any]]:
    """What an SAE's config says; some published folders have none, and it says nothing then."""
    file = fetch_if_any(source, path, revision)
    if file is not None:
        return file, read_json(file)
    logging.getLogger(__name__).info("%s has no %s: the layer is its folder's, the sizes its tensors'", source, path)
    return Path(source) / path, {"architecture": "jump_relu"}


def _said(file: Path, config: dict[str, Any], layer: int, site: str) -> list[Said]:
    """What config and folder say of the place that the SAE reads."""
    places = _SITES.get(site.removesuffix("_all"), ())
    by_site = [Said(f"the folder {site}", site, layer, tuple(Spot(layer, place) for place in places))] if places else []
    return [*said_by_hook(file, config.get("hf_hook_point_in")), *by_site]


def _is_transcoder(file: Path, config: dict[str, Any], layer: int, site: str) -> bool:
    """Whether it writes elsewhere than it reads, as its folder says; refused where its config says otherwise."""
    if config.get("architecture") != "jump_relu":
        raise UserError(f"{file}: architecture must be 'jump_relu', got {shown(config.get('architecture'))}")
    transcoder, kind = site.removesuffix("_all") == _TRANSCODERS, config.get("type", "sae")
    read, written = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    if not transcoder:
        if truth(file, config, "affine_connection"):
            raise UserError(
                f"{file}: the SAE has an affine connection beside its features, which only transcoders have"
            )
        refuse_transcoder(file, read, written)
    elif written is not None and not (isinstance(written, str) and spot_of(written) == Spot(layer, "mlp")):
        raise UserError(f"{file}: it writes {shown(written)}, not what the MLP of layer {layer} gives")
    if kind not in (("transcoder", "sae") if transcoder else ("sae",)):
        raise UserError(f"{file}: type must be 'sae', got {shown(kind)}")
    return transcoder
