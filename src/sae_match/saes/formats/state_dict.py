"""One pickled state dict a file, and nothing beside it: as Goodfire and others publish single ReLU SAEs."""

from pathlib import Path
from typing import Any

from sae_match.errors import UserError, listed
from sae_match.saes.formats.shared.building import build, on_shifted_input, refuse_contradiction
from sae_match.saes.formats.shared.describing import SAEDescription, described_by
from sae_match.saes.formats.shared.hub import fetch, fetch_if_any
from sae_match.saes.formats.shared.kinds import refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.places import Said, agreed_place, layer_in_name, said_by_hook, said_by_number
from sae_match.saes.formats.shared.reading import matrix, read_json, read_pickled_tensors, stated, tensor
from sae_match.saes.sae import SAE

LAYOUT = Layout(r"(?P<path>(?:.*/)?(?!ae\.pt|layer\d+\.sae\.pt)[^/]+\.pth?)", example="SAE-l19.pth", anything=True)
# Encoder and decoder as torch's linear layers hold them, by the names of those who published them.
_LINEAR = (("encoder_linear", "decoder_linear"), ("encoder", "decoder"))
_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
# Of those that lie beside such a file, what the SAE reads and its sizes.
_HOOK, _SIZES = "act_name", {"d_in": "act_size", "d_sae": "dict_size"}


def load(source: str, *, layer: int, path: str, subtract_b_dec: bool | None = None, revision: str | None = None) -> SAE:
    """Load one ReLU SAE from a pickled state dict; nothing but tensors is unpickled.

    Args:
        source: A folder, or a repository such as `Goodfire/Llama-3.1-8B-Instruct-SAE-l19`.
        layer: Decoder layer that the SAE belongs to.
        path: The file inside the source, with `{layer}` where the layer's number goes.
        subtract_b_dec: Whether the encoder reads activations less the decoder's bias; by default where a config lies
            beside the file, as whoever writes one does.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such file, it is not sound, holds more than tensors, or other ones than these.
    """
    path = paths(layer=layer, path=path)[0]
    config_file, config = _config(source, path, revision)
    agreed_place(layer, _said(path, config_file, config))
    file = fetch(source, path, revision)
    tensors = read_pickled_tensors(file)
    pair = next((pair for pair in _LINEAR if f"{pair[0]}.weight" in tensors), None)
    if pair is None:
        named: dict[str, Any] = {name: tensor(file, tensors, name) for name in _MATRICES}
        refuse_other_names(file, tensors, _MATRICES)
    else:
        refuse_other_names(file, tensors, [f"{one}.{part}" for one in pair for part in ("weight", "bias")])
        W_enc, W_dec = (matrix(file, tensors, f"{one}.weight").T for one in pair)
        b_enc, b_dec = (tensor(file, tensors, f"{one}.bias") for one in pair)
        named = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    sae = build(file, **named, activation="relu")
    refuse_contradiction(config_file, sae, **{ours: stated(config_file, config, key) for ours, key in _SIZES.items()})
    return on_shifted_input(sae) if (bool(config) if subtract_b_dec is None else subtract_b_dec) else sae


def describe(source: str, *, layer: int, path: str, revision: str | None) -> SAEDescription:
    """What the SAE is, by its file's name and the config beside it, if any; arguments as for `load`."""
    path = paths(layer=layer, path=path)[0]
    file, config = _config(source, path, revision)
    place = agreed_place(layer, _said(path, file, config))
    said = described_by(file, config, **_SIZES, hook=place)
    return SAEDescription(said.d_in, said.d_sae, said.hook, has_thresholds=False)


def paths(*, layer: int, path: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [path.replace("{layer}", str(layer))]


def _config(source: str, path: str, revision: str | None) -> tuple[Path, dict[str, Any]]:
    if not path.endswith((".pt", ".pth")):
        raise UserError(f"path must name a file that ends in .pt or .pth, got {listed([path])}")
    name = f"{path.rpartition('.')[0]}_cfg.json"
    file = fetch_if_any(source, name, revision)
    return file or Path(source) / path, {} if file is None else read_json(file)


def _said(path: str, file: Path, config: dict[str, Any]) -> list[Said]:
    return [*said_by_hook(file, config.get(_HOOK)), *said_by_number(f"the name {path}", layer_in_name(path))]
