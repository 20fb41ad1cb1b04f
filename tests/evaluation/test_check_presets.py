"""What `check=true` says of every preset of public dictionaries, asked of a hub that has what is published."""

from dataclasses import replace
from itertools import pairwise

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils._http import default_client_factory

from sae_match.errors import UserError
from sae_match.evaluation.check import check
from sae_match.evaluation.passes import costs
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.matching.settings import MatcherSettings
from sae_match.model.description import describe_model
from sae_match.model.settings import ModelSettings
from sae_match.saes.sites import MATCHED_SITES, SITES
from sae_match.text.settings import SourceSettings, TextSettings
from tests.settings.presets import FILES, PRESETS, collection_of

pytest.importorskip("sae_lens", exc_type=ImportError)

from tests.public_hub import hub, model_of

# One of each format and each kind of model, and of them the smallest.
FIRST = {
    *("gemma_scope_2/270m_pt_attention", "gemma_scope_2/270m_it_transcoders", "gpt2_oai_v5/resid_post_32k"),
    *("llama_scope/lxa_8x", "llama_scope_r1_distill/both", "qwen_scope/3_1_7b_base_w32k_l50"),
    *("qwen_scope/3_5_2b_base_w32k_l50", "circuit_tracer/qwen3_0_6b_lowl0", "gemma_scope_2b_attention"),
    *("gemma_scope_2b_transcoders", "gpt2_res_jb"),
}
PUBLIC = [name for name in FILES if ("/" in name or name in PRESETS) and not name.startswith("bundled")]
MATCHED_ALONE = {*MATCHED_SITES} - {*SITES}
# Fewer layers than these are a choice of them.
ALL = 12
# Gigabytes; what this machine has is not asked.
ENOUGH = 1000.0


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A short text of one's own: nothing is asked about text here."""
    file = tmp_path_factory.mktemp("text") / "words.txt"
    file.write_text("words and more words " * 80)
    mine = SourceSettings("text", path=str(file), whole=True)
    return TextSettings({"mine": mine}, documents=1, bos="<|endoftext|>")


@pytest.fixture(scope="module", autouse=True)
def public_hub(tmp_path_factory):
    """Every question to the hub is answered here; how fast this machine is, is not asked: it takes seconds."""
    transport = httpx2.WSGITransport(app=hub)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        patch.setattr(costs, "speed_of", lambda *_: 1e12)
        huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=transport, follow_redirects=True))
        yield
    huggingface_hub.set_client_factory(default_client_factory)


def only_matched(saes):
    """Whether nothing can be measured of SAEs on text; on the way, each layer's files are found and described."""
    described = [saes.describe_sae(layer) for layer in saes.layers if saes.files(layer)]
    assert len(described) == len(saes.layers)
    return saes.site in MATCHED_ALONE or any(one.unmeasurable for one in described)


@pytest.mark.parametrize(
    "name", [name if name in FIRST else pytest.param(name, marks=pytest.mark.thorough) for name in PUBLIC]
)
def test_a_preset_finds_all_its_files_and_they_fit_its_model(name, text):
    saes = collection_of(name)
    model, layers = ModelSettings(model_of(saes.source)), sorted(saes.layers)
    pairs = [list(pair) for pair in pairwise(layers)] or [[layers[0], layers[0] + 1]]
    evaluation = EvaluationSettings(["matched"], pairs=pairs, rotations=0, memory=ENOUGH)
    found = check(model, saes, MatcherSettings(memory=ENOUGH), text, evaluation)
    rows = dict(found.rows)
    if only_matched(saes):
        assert {line.partition(":")[0] for line in found.missing} == {"SAEs"}
        assert all("can be matched (match.py, or match)" in line for line in found.missing)
    elif len(layers) > 1:
        assert found.missing == []
        assert rows["SAEs"].startswith(f"{saes.source}: {len(layers)} layers, ")
        assert rows["pairs"].startswith(f"{len(pairs)}, ")
    else:
        # What is held against another collection.
        assert [line.partition(":")[0] for line in found.missing] == ["pairs"]
    assert f": format {saes.format} (by " in rows["source"]
    if len(layers) >= ALL:
        # A layer that is left out is one that nobody has published.
        for layer in {*range(describe_model(model).n_layers)} - {*layers}:
            with pytest.raises(UserError, match="has no file"):
                replace(saes, layers={layer: saes.layers[layers[0]]}).files(layer)
