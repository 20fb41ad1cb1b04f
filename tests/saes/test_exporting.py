"""What is exported is opened again, by its layout's own loader, as the dictionary that it was."""

from dataclasses import replace

import pytest
import torch

from sae_match import SAE, load_sae
from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.exporting import EXPORTED, export_collection, export_sae
from sae_match.saes.sae import CrosscoderView, Transcoder
from sae_match.saes.settings import SAESettings
from tests.saes.formats.layouts import D_IN, activations, matrices, thresholds
from tests.saes.formats.more_layouts import skip

PLAIN = SAE(**matrices(), threshold=thresholds())
RELU = SAE(**matrices(), activation="relu")
TOP_K = SAE(**matrices(), activation="topk", k=3)
CODER = Transcoder(**matrices(), threshold=thresholds())
AFFINE = Transcoder(**matrices(), activation="relu", W_skip=skip())
HELD = {
    "gemma_scope": {"jumprelu": PLAIN, "relu": RELU, "transcoder": CODER},
    "sae_lens": {"jumprelu": PLAIN, "relu": RELU, "topk": TOP_K, "transcoder": CODER, "affine": AFFINE},
    "circuit_tracer": {"transcoder": CODER, "affine": AFFINE},
}
CASES = [(layout, kind) for layout, kinds in HELD.items() for kind in kinds]


@pytest.mark.parametrize(("layout", "kind"), CASES)
def test_what_is_written_is_what_was_there(tmp_path, layout, kind):
    sae = HELD[layout][kind]
    site = "mlp_input" if isinstance(sae, Transcoder) else "residual"
    which = export_sae(sae, tmp_path, layout, layer=3, model="o/m", site=site, l0=5)
    again = load_sae(layout, str(tmp_path), layer=3, **which)
    assert type(again) is type(sae)
    x = activations()
    assert torch.equal(again.encode(x), sae.encode(x))
    assert torch.equal(again(x), sae(x))


REFUSED = [
    ("gemma_scope", TOP_K, "holds no TopK SAEs"),
    ("gemma_scope", AFFINE, "no transcoders with a linear map"),
    ("circuit_tracer", PLAIN, "sets are of transcoders, this is an SAE"),
    ("gemma_scope", replace(PLAIN, input_norm="layer_norm"), "SAEs that normalise every token"),
    ("sae_lens", CrosscoderView(**matrices(), threshold=thresholds()), "no views of crosscoders"),
    ("sparsify", PLAIN, "no SAEs are written in the layout 'sparsify'; there are gemma_scope, sae_lens"),
]


@pytest.mark.parametrize(("layout", "sae", "message"), REFUSED)
def test_what_a_layout_cannot_hold_is_refused(tmp_path, layout, sae, message):
    with pytest.raises(UserError, match=message):
        export_sae(sae, tmp_path, layout, layer=3, model="o/m")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("layout", EXPORTED)
def test_a_collection_is_opened_as_a_folder(tmp_path, layout):
    coders = layout == "circuit_tracer"
    site, sae = ("mlp_input", CODER) if coders else ("residual", PLAIN)
    which = {layer: export_sae(sae, tmp_path / "a", "sae_lens", layer=layer, model="m", site=site) for layer in (3, 4)}
    first = SAECollection("sae_lens", str(tmp_path / "a"), layers=which, site=site)
    folder = export_collection(first, tmp_path / "b", layout, model="o/m")
    second = SAECollection.of(SAESettings("folder", str(folder), site=site))
    assert second.format == layout
    assert all(torch.equal(second.open(layer)(activations()), sae(activations())) for layer in (3, 4))
    with pytest.raises(UserError, match="is not empty"):
        export_collection(first, folder, layout, model="o/m")


def test_a_collection_has_a_table(tmp_path):
    which = {layer: export_sae(PLAIN, tmp_path, "sae_lens", layer=layer, model="m") for layer in (3, 4)}
    table = SAECollection("sae_lens", str(tmp_path), layers=which).table()
    assert table["layer"].tolist() == [3, 4]
    assert table["path"].tolist() == ["layer_3", "layer_4"]
    assert set(table["d_in"]) == {D_IN}
    assert table["hook"].tolist() == ["blocks.3.hook_resid_post", "blocks.4.hook_resid_post"]
