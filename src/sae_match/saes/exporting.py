"""SAEs and whole collections into folders of other layouts: Gemma Scope's, SAELens', circuit-tracer's."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors.torch import save_file

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.manifest import write_manifest
from sae_match.saes.sae import SAE, CrosscoderView, Transcoder

if TYPE_CHECKING:
    from sae_match.saes.collection import SAECollection

#: Layouts that are written.
EXPORTED = ("gemma_scope", "sae_lens", "circuit_tracer")
_HOOKS = {
    "residual": "hook_resid_post",
    "residual_before": "hook_resid_pre",
    "residual_middle": "hook_resid_mid",
    "mlp": "hook_mlp_out",
    "mlp_input": "hook_mlp_in",
    "attention": "attn.hook_z",
    "attention_output": "hook_attn_out",
}
_WRITTEN = "hook_mlp_out"


def export_sae(
    sae: SAE, folder: str | Path, layout: str, *, layer: int, model: str, site: str = "residual", l0: int = 0
) -> dict[str, Any]:
    """Write one SAE or transcoder into a folder, as a layout has it; what it computes stays what it was.

    Args:
        sae: On raw activations, as all SAEs here.
        folder: The source that it will be a part of.
        layout: One of `EXPORTED`.
        layer: Decoder layer that it belongs to.
        model: Name of the language model that it reads; Gemma Scope's layout does not hold it.
        site: Where in its layer it reads, one of `sae_match.saes.sites.MATCHED_SITES`.
        l0: Its mean number of active features, which is a part of the path in Gemma Scope's layout; zero for unknown.

    Returns:
        What picks it within the folder, as the layout's `load` takes it, but for the layer.

    Raises:
        UserError: If there is no such layout, it cannot hold such a dictionary, or the folder cannot be written.
    """
    if layout not in EXPORTED:
        raise UserError(f"no SAEs are written in the layout {layout!r}; there are {', '.join(EXPORTED)}")
    _refuse_unheld(sae, layout)
    here = Path(folder)
    if layout == "sae_lens":
        about = {"hook_name_out": f"blocks.{layer}.{_WRITTEN}"} if isinstance(sae, Transcoder) else {}
        hook = f"blocks.{layer}.{_HOOKS[site]}"
        sae_lens.save(sae, here / f"layer_{layer}", model_name=model, hook_name=hook, **about)
        return {"path": f"layer_{layer}"}
    if layout == "circuit_tracer":
        _save_transcoder(sae, here, layer, model)
        return {}
    width = gemma_scope.width_of(sae.d_sae)
    thresholds = torch.zeros_like(sae.b_enc) if sae.threshold is None else sae.threshold
    # What passes where it is positive passes where it is above zero.
    gemma_scope.save(replace(sae, activation="jumprelu", threshold=thresholds), here, layer=layer, width=width, l0=l0)
    return {"width": width, "l0": l0, **({"transcoder": True} if isinstance(sae, Transcoder) else {})}


def export_collection(collection: "SAECollection", folder: str | Path, layout: str, *, model: str) -> Path:
    """Write all SAEs of a collection into a new folder, with `saes.json`, so that `sae=folder` opens it.

    Args:
        collection: Its SAEs; each is read, written and let go.
        folder: An empty or a new one.
        layout: One of `EXPORTED`.
        model: Name of their language model.

    Returns:
        The folder.

    Raises:
        UserError: As `export_sae`, if there is something in the folder, or an SAE cannot be opened.
    """
    here = Path(folder)
    if here.exists() and (not here.is_dir() or any(here.iterdir())):
        raise UserError(f"{here} is not empty: SAEs are exported into a folder of their own")
    written: dict[int, Mapping[str, str | int]] = {}
    for layer in sorted(collection.layers):
        l0 = str(collection.layers[layer].get("l0", ""))
        told = int(l0) if l0.isdecimal() else 0
        written[layer] = export_sae(
            collection.open(layer), here, layout, layer=layer, model=model, site=collection.site, l0=told
        )
    write_manifest(here, layout, written, (file for file in here.rglob("*") if file.is_file()))
    return here


def _refuse_unheld(sae: SAE, layout: str) -> None:
    """Refuse what a layout has no place for."""
    transcoder = isinstance(sae, Transcoder)
    if isinstance(sae, CrosscoderView):
        raise UserError(f"the layout {layout} holds no views of crosscoders")
    if layout == "sae_lens":
        return
    if sae.activation == "topk" or sae.input_norm != "none":
        kind = "TopK SAEs" if sae.activation == "topk" else "SAEs that normalise every token"
        raise UserError(f"the layout {layout} holds no {kind}; sae_lens does")
    if layout == "circuit_tracer" and not transcoder:
        raise UserError("circuit-tracer's sets are of transcoders, this is an SAE; sae_lens and gemma_scope hold it")
    if layout == "gemma_scope" and transcoder and getattr(sae, "W_skip", None) is not None:
        raise UserError("Gemma Scope's layout holds no transcoders with a linear map; sae_lens and circuit_tracer do")


def _save_transcoder(sae: SAE, folder: Path, layer: int, model: str) -> None:
    held = sae.tensors()
    tensors = {name: held[name] for name in ("b_enc", "W_dec", "b_dec")} | {"W_enc": sae.W_enc.T}
    if "W_skip" in held:
        tensors["W_skip"] = held["W_skip"].T
    if sae.threshold is not None:
        tensors["activation_function.threshold"] = sae.threshold
    with written_whole(folder / f"layer_{layer}.safetensors") as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    said = {
        "model_name": model,
        "model_kind": "transcoder_set",
        "feature_input_hook": _HOOKS["mlp_input"],
        "feature_output_hook": _WRITTEN,
    }
    with written_whole(folder / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
