"""circuit-tracer's transcoder sets: `config.yaml`, and `layer_{i}.safetensors` for each layer."""

from pathlib import Path
from typing import Any

from sae_match.errors import UserError, shown
from sae_match.saes.formats.shared.building import build
from sae_match.saes.formats.shared.describing import SAEDescription
from sae_match.saes.formats.shared.headers import shapes_in_safetensors
from sae_match.saes.formats.shared.hub import fetch, fetch_if_any, on_this_machine
from sae_match.saes.formats.shared.kinds import refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.places import agreed_place, said_by_hook
from sae_match.saes.formats.shared.reading import matrix, read_safetensors, read_yaml, tensor
from sae_match.saes.sae import SAE, TRANSCODING

LAYOUT = Layout(r"layer_(?P<layer>\d+)\.safetensors", example="layer_3.safetensors")
_CONFIG, _SKIP, _THRESHOLD = "config.yaml", "W_skip", "activation_function.threshold"
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
# What a set without a config reads.
_READ = "mlp.hook_in"


def load(source: str, *, layer: int, revision: str | None = None) -> SAE:
    """Load one transcoder from a folder or a hub repository in circuit-tracer's layout: ReLU, or JumpReLU.

    Args:
        source: A folder, or a repository such as `mwhanna/qwen3-4b-transcoders`.
        layer: Decoder layer whose MLP the transcoder stands for.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such transcoder, a file is not sound, or the set is one of cross-layer transcoders.
    """
    agreed_place(layer, said_by_hook(*_read(source, layer, revision)))
    file = fetch(source, paths(layer=layer)[0], revision)
    tensors = read_safetensors(file)
    refuse_other_names(file, tensors, (*_TENSORS, _SKIP, _THRESHOLD))
    others: dict[str, Any] = {name: tensor(file, tensors, name) for name in _TENSORS[1:]}
    return build(
        file,
        # Kept one row a feature, as the decoder is.
        W_enc=matrix(file, tensors, "W_enc").T,
        **others,
        threshold=tensors.get(_THRESHOLD),
        activation="jumprelu" if _THRESHOLD in tensors else "relu",
        transcoder=True,
        W_skip=matrix(file, tensors, _SKIP).T if _SKIP in tensors else None,
    )


def describe(source: str, *, layer: int, revision: str | None) -> SAEDescription:
    """What the transcoder is, by the set's config and its file's header; arguments as for `load`."""
    place = agreed_place(layer, said_by_hook(*_read(source, layer, revision)))
    file = on_this_machine(source, paths(layer=layer)[0], revision)
    shapes = {} if file is None else shapes_in_safetensors(file)
    d_sae, d_in = shapes["W_enc"] if len(shapes.get("W_enc", ())) == 2 else (None, None)
    has = None if file is None else _THRESHOLD in shapes
    return SAEDescription(d_in, d_sae, place, has_thresholds=has, unmeasurable=TRANSCODING)


def paths(*, layer: int) -> list[str]:
    """Paths of the files that a transcoder is read from; arguments as for `load`."""
    return [f"layer_{layer}.safetensors"]


def _read(source: str, layer: int, revision: str | None) -> tuple[Path, str]:
    """Who says what a layer's transcoder reads, and what."""
    file = fetch_if_any(source, _CONFIG, revision)
    config = {} if file is None else read_yaml(file)
    kind, hook = config.get("model_kind", "transcoder_set"), config.get("feature_input_hook", _READ)
    if kind != "transcoder_set":
        raise UserError(
            f"{file}: model_kind must be 'transcoder_set', got {shown(kind)}: cross-layer transcoders write "
            "every later layer, and have a decoder for each"
        )
    if not isinstance(hook, str):
        raise UserError(f"{file}: feature_input_hook must be text, got {shown(hook)}")
    return file or Path(source), f"blocks.{layer}.{hook}"
