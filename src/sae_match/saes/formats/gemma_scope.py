"""Gemma Scope's layout: `layer_{i}/width_{w}/average_l0_{n}/params.npz`, float32, JumpReLU.

The repositories of residual, MLP and attention SAEs have the same paths.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sae_match.errors import UserError, listed
from sae_match.files import written_whole
from sae_match.saes.formats.shared.archives import read_arrays, sound_archive
from sae_match.saes.formats.shared.building import build, on_scaled_input
from sae_match.saes.formats.shared.describing import SAEDescription, rows_of, width_in
from sae_match.saes.formats.shared.headers import shape_in_npz
from sae_match.saes.formats.shared.hub import fetch, locate, on_this_machine
from sae_match.saes.formats.shared.kinds import named_transcoders, refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.sae import SAE, TRANSCODING

EMBEDDING = "embedding"
LAYOUT = Layout(
    r"(?:layer_(?P<layer>\d+)|(?P<embedding>embedding))/width_(?P<width>[^/]+)/average_l0_(?P<l0>\d+)/params\.npz",
    example="layer_20/width_16k/average_l0_71/params.npz",
)

_ARRAYS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
_WIDTH = re.compile(r"(\d+)(k|m)?")
_UNITS = {"k": 10, "m": 20}
# The files do not say what they read, the names of the repositories do.
_PUBLISHED = re.compile(r"google/gemma-scope-\w+-\w+-(res|mlp|att|transcoders)")
_HOOKS = {
    "res": "output",
    "mlp": "post_feedforward_layernorm.output",
    "att": "self_attn.o_proj.input",
    "transcoders": "pre_feedforward_layernorm.output",
}


def load(
    source: str,
    *,
    layer: int | str,
    width: str | int,
    l0: int,
    transcoder: bool = False,
    revision: str | None = None,
) -> SAE:
    """Load one SAE or transcoder from a folder or a hub repository in Gemma Scope's layout.

    Args:
        source: A folder, or a repository such as `google/gemma-scope-2b-pt-res`.
        layer: Decoder layer that the SAE belongs to, or `embedding` for the SAE of the residual before
            the first one. That was trained on token embeddings before Gemma multiplies them by
            `sqrt(d_in)`; the factor is folded in.
        width: As in the path: `16k`, `1m`, or a plain number of features.
        l0: Average L0 as in the path.
        transcoder: Whether it is one, which the files do not say; a repository or folder with the name of a published
            one says it itself.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If the file does not exist, is damaged, lacks an array, contradicts its width, or is of a
            crosscoder.
    """
    transcoder = transcoder or named_transcoders(source)
    file = fetch(source, path_of(layer, str(width), l0), revision)
    tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in _read(file).items()}
    sae = build(file, **tensors, transcoder=transcoder)
    expected = features_of(str(width))
    if sae.d_sae != expected:
        raise UserError(f"{file}: width {width} means {expected} features, W_enc has {sae.d_sae}")
    return on_scaled_input(sae, 1 / math.sqrt(sae.d_in)) if layer == EMBEDDING else sae


def describe(
    source: str, *, layer: int | str, width: str | int, l0: int, transcoder: bool, revision: str | None
) -> SAEDescription:
    """What the SAE is, by the name of its repository and its file's header or size; arguments as for `load`."""
    transcoder = transcoder or named_transcoders(source)
    d_sae, path = features_of(str(width)), path_of(layer, str(width), l0)
    file = on_this_machine(source, path, revision)
    if file is None:
        d_in = width_in(locate(source, path, revision).bytes, d_sae)
    else:
        d_in = rows_of(shape_in_npz(file, "W_enc"))
    published = _PUBLISHED.fullmatch(source)
    place = None if published is None or layer == EMBEDDING else f"model.layers.{layer}.{_HOOKS[published[1]]}"
    if place is None and transcoder:
        place = f"model.layers.{layer}.{_HOOKS['transcoders']}"
    return SAEDescription(d_in, d_sae, place, unmeasurable=TRANSCODING if transcoder else None)


def paths(*, layer: int | str, width: str | int, l0: int) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [path_of(layer, str(width), l0)]


def only_one(folder: str, layer: int, features: int) -> dict[str, Any]:
    """Width and L0, as `load` takes them, of the one SAE that a local folder holds for a layer and a width.

    Raises:
        UserError: If it holds none or several.
    """
    width = width_of(features)
    files = sorted(Path(folder).glob(f"layer_{layer}/width_{width}/average_l0_*/params.npz"))
    if len(files) != 1:
        raise UserError(f"{folder} must hold one SAE of width {width} for layer {layer}, it holds {len(files)}")
    return {"width": width, "l0": int(files[0].parent.name.removeprefix("average_l0_"))}


def save(sae: SAE, folder: Path, *, layer: int, width: str, l0: int) -> Path:
    """Write one JumpReLU SAE in Gemma Scope's layout; returns the file."""
    if sae.activation != "jumprelu":
        raise UserError(f"Gemma Scope's layout holds JumpReLU SAEs only, got {sae.activation!r}")
    arrays: dict[str, Any] = {name: tensor.detach().cpu().float().numpy() for name, tensor in sae.tensors().items()}
    file = folder / path_of(layer, width, l0)
    with written_whole(file) as temporary:
        np.savez(temporary, **arrays)
    return file


def path_of(layer: int | str, width: str, l0: int) -> str:
    """Path of an SAE inside its source."""
    part = EMBEDDING if layer == EMBEDDING else f"layer_{layer}"
    return f"{part}/width_{width}/average_l0_{l0}/params.npz"


def features_of(width: str) -> int:
    """Number of features that a width of a path stands for.

    Powers of two are named by their thousands: `16k` is 16384, `65k` is 65536, `1m` is 1048576. Any
    other number before `k` counts 1024s.
    """
    match = _WIDTH.fullmatch(width)
    if match is None:
        raise UserError(f"a width looks like 512, 16k or 1m, got {width!r}")
    count = int(match[1])
    if match[2] is None:
        return count
    if match[2] == "k":
        powers = (1 << exponent for exponent in range(10, 20))
        return next((power for power in powers if power // 1000 == count), count << 10)
    return count << _UNITS["m"]


def width_of(features: int) -> str:
    """How a path writes a number of features: 16384 is `16k`, 65536 is `65k`."""
    names = (f"{features >> _UNITS['m']}m", f"{features // 1000}k", f"{features >> _UNITS['k']}k")
    return next((name for name in names if features_of(name) == features > 0), str(features))


def _read(file: Path) -> dict[str, np.ndarray]:
    with sound_archive(file) as archive:
        held = [name.removesuffix(".npy") for name in archive.namelist()]
        missing = [name for name in _ARRAYS if name not in held]
        if missing:
            raise UserError(f"{file} has no array {', '.join(missing)}; it holds {listed(held)}")
        refuse_other_names(file, held, _ARRAYS)
        arrays = read_arrays(file, archive, _ARRAYS)
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise UserError(f"{file}: {name} must be float32, got {array.dtype}")
    return arrays
