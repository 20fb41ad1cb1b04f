"""Gemma Scope 2's layout: `resid_post/layer_{i}_width_{w}_l0_{small,medium,big}/`, safetensors, JumpReLU."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from sae_match.errors import UserError, shown
from sae_match.saes.formats.gemma_scope import features_of
from sae_match.saes.formats.shared.building import build, refuse_contradiction
from sae_match.saes.formats.shared.describing import SAEDescription, described_by, rows_of, width_in
from sae_match.saes.formats.shared.headers import shapes_in_safetensors
from sae_match.saes.formats.shared.hub import fetch, locate, on_this_machine
from sae_match.saes.formats.shared.kinds import refuse_other_names, refuse_transcoder
from sae_match.saes.formats.shared.places import Said, agreed_place, said_by_hook
from sae_match.saes.formats.shared.reading import read_json, read_safetensors, stated, tensor, truth
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site, Spot

_TENSORS = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold")
_L0 = ("small", "medium", "big")
_OF_SEED = re.compile(rf"({'|'.join(_L0)})(_seed_\d{{1,3}})?")
# What the folders of the published repositories hold; heads before their projection, or what they add.
_SITES: dict[str, tuple[Site, ...]] = {
    "resid_post": ("residual",),
    "mlp_out": ("mlp",),
    "attn_out": ("attention", "attention_output"),
}


def load(
    source: str, *, layer: int, width: str | int, l0: str | int, site: str = "resid_post", revision: str | None = None
) -> SAE:
    """Load one SAE from a folder or a hub repository in Gemma Scope 2's layout.

    Args:
        source: A folder, or a repository such as `google/gemma-scope-2-4b-pt`.
        layer: Decoder layer that the SAE belongs to.
        width: As in the path: `16k`, `262k`, `1m`.
        l0: `small`, `medium` or `big`; of a further training seed, as its folder says, `medium_seed_1`.
        site: Folder of the repository: `resid_post` (few layers, every width and L0), `resid_post_all`
            (every layer), and others that hold SAEs.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such SAE, a file is not sound, config and tensors contradict each
            other, or it is no JumpReLU SAE (a transcoder, for instance).
    """
    config_path, weights_path = paths(layer=layer, width=width, l0=l0, site=site)
    config_file = fetch(source, config_path, revision)
    config = read_json(config_file)
    _refuse_other_kinds(config_file, config)
    agreed_place(layer, _said(config_file, config, layer, site))
    file = fetch(source, weights_path, revision)
    tensors = read_safetensors(file)
    refuse_other_names(file, tensors, _TENSORS)
    sae = build(
        file,
        W_enc=tensor(file, tensors, "w_enc"),
        b_enc=tensor(file, tensors, "b_enc"),
        W_dec=tensor(file, tensors, "w_dec"),
        b_dec=tensor(file, tensors, "b_dec"),
        threshold=tensor(file, tensors, "threshold"),
    )
    refuse_contradiction(config_file, sae, d_sae=stated(config_file, config, "width"))
    if sae.d_sae != features_of(str(width)):
        raise UserError(f"{file}: width {width} means {features_of(str(width))} features, w_enc has {sae.d_sae}")
    return sae


def describe(
    source: str, *, layer: int, width: str | int, l0: str | int, site: str, revision: str | None
) -> SAEDescription:
    """What the SAE is, by its config and its file's header or size; arguments as for `load`."""
    config_path, weights_path = paths(layer=layer, width=width, l0=l0, site=site)
    file = fetch(source, config_path, revision)
    config, d_sae = read_json(file), features_of(str(width))
    place = agreed_place(layer, _said(file, config, layer, site))
    said = described_by(file, config, d_in="", d_sae="width", hook=place)
    weights = on_this_machine(source, weights_path, revision)
    if weights is None:
        return replace(said, d_in=width_in(locate(source, weights_path, revision).bytes, said.d_sae or d_sae))
    return replace(said, d_in=rows_of(shapes_in_safetensors(weights).get("w_enc")))


def paths(*, layer: int, width: str | int, l0: str | int, site: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    if not _OF_SEED.fullmatch(str(l0)):
        raise UserError(
            f"l0 of a Gemma Scope 2 SAE is one of {', '.join(_L0)}, got {l0!r}; of another seed medium_seed_1"
        )
    folder = f"{site}/layer_{layer}_width_{width}_l0_{l0}"
    return [f"{folder}/config.json", f"{folder}/params.safetensors"]


def _said(file: Path, config: dict[str, Any], layer: int, site: str) -> list[Said]:
    """What config and folder say of the place that the SAE reads."""
    places = _SITES.get(site.removesuffix("_all"), ())
    by_site = [Said(f"the folder {site}", site, layer, tuple(Spot(layer, place) for place in places))] if places else []
    return [*said_by_hook(file, config.get("hf_hook_point_in")), *by_site]


def _refuse_other_kinds(file: Path, config: dict[str, Any]) -> None:
    if config.get("architecture") != "jump_relu":
        raise UserError(f"{file}: architecture must be 'jump_relu', got {shown(config.get('architecture'))}")
    if truth(file, config, "affine_connection"):
        raise UserError(f"{file}: the SAE has an affine connection beside its features, which no SAE here can have")
    if config.get("type", "sae") != "sae":
        raise UserError(f"{file}: type must be 'sae', got {shown(config['type'])}")
    read, written = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    refuse_transcoder(file, read, written)
