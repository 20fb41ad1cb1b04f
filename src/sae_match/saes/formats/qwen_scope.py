"""Qwen Scope's layout: `layer{i}.sae.pt`, one pickle of tensors a layer, and one `config.json` for all; TopK."""

import re
from pathlib import Path
from typing import Any

from sae_match.errors import UserError, shown
from sae_match.saes.formats.shared.building import build, refuse_contradiction
from sae_match.saes.formats.shared.describing import SAEDescription
from sae_match.saes.formats.shared.hub import fetch, fetch_if_any
from sae_match.saes.formats.shared.kinds import refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.reading import matrix, read_json, read_pickled_tensors, stated, tensor
from sae_match.saes.sae import SAE

LAYOUT = Layout(r"layer(?P<layer>\d+)\.sae\.pt", example="layer3.sae.pt")
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
_CONFIG = "config.json"
# SAE-Res-Qwen3-1.7B-Base-W32K-L0_50: 32 times 1,024 features, of which 50 are active.
_NAMED = re.compile(r"SAE-Res-.+-W(\d+)K-L0_(\d+)")


def load(source: str, *, layer: int, k: int | None = None, revision: str | None = None) -> SAE:
    """Load one SAE of the residual stream from a folder or a hub repository in Qwen Scope's layout.

    Args:
        source: A folder, or a repository such as `Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50`.
        layer: Decoder layer that the SAE belongs to.
        k: Features that a token keeps, where neither `config.json` nor the name of the source says it.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such SAE, the file is not sound or holds more than tensors, or what config, name and
            tensors say does not agree.
    """
    config_file, said = _said(source, revision, k)
    file = fetch(source, paths(layer=layer)[0], revision)
    tensors = read_pickled_tensors(file)
    refuse_other_names(file, tensors, _TENSORS)
    W_enc, W_dec = (matrix(file, tensors, name).T for name in ("W_enc", "W_dec"))
    biases: dict[str, Any] = {name: tensor(file, tensors, name) for name in ("b_enc", "b_dec")}
    if said["k"] is None:
        raise UserError(
            f"{source}: neither {_CONFIG} nor the source's name says how many features a token keeps; say k"
        )
    sae = build(file, W_enc=W_enc, W_dec=W_dec, **biases, activation="topk", k=said["k"])
    refuse_contradiction(config_file, sae, d_in=said["d_in"], d_sae=said["d_sae"])
    return sae


def describe(source: str, *, layer: int, k: int | None, revision: str | None) -> SAEDescription:
    """What the SAE is, by the config of all layers and the source's name; arguments as for `load`."""
    said = _said(source, revision, k)[1]
    return SAEDescription(said["d_in"], said["d_sae"], f"model.layers.{layer}.output", has_thresholds=False)


def paths(*, layer: int) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [f"layer{layer}.sae.pt"]


def _said(source: str, revision: str | None, k: int | None) -> tuple[Path, dict[str, int | None]]:
    """What the config, the source's name and the caller say of all layers; refused where they contradict each other."""
    file = fetch_if_any(source, _CONFIG, revision)
    config = {} if file is None else read_json(file)
    if config.get("model_type", "topk_sae") != "topk_sae":
        raise UserError(f"{file}: model_type must be 'topk_sae', got {shown(config['model_type'])}")
    named = _NAMED.search(source)
    by_name = {} if named is None else {"d_sae": 1024 * int(named[1]), "k": int(named[2])}
    by = {"d_in": "d_model", "d_sae": "d_sae", "k": "k"}
    where, found = file or Path(source), dict[str, int | None]()
    for ours, key in by.items():
        values = [stated(where, config, key), by_name.get(ours), k if ours == "k" else None]
        told = {value for value in values if value is not None}
        if len(told) > 1:
            raise UserError(f"{where}: {key} is {' and '.join(map(str, sorted(told)))}, by config, name and settings")
        found[ours] = next(iter(told), None)
    return where, found
