"""Contributions, against plain hooks on the language model, a document at a time."""

import pytest
import torch

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.evaluation.provenance.contributions import ContributionSums
from sae_match.evaluation.provenance.sources import SOURCES
from sae_match.evaluation.provenance.study import ProvenanceStudy
from sae_match.model.collecting import added_by
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.collection import SAECollection
from tests.evaluation.validating import collection_of, documents, saved, text_of, validated
from tests.model.architectures import random_model

LAYERS = (2, 3)


def by_plain_hooks(model, ids, layer):
    """What the layer reads, what its attention and its MLP add, and what it leaves, of one document."""
    block, seen = model.model.layers[layer], {}

    def note(name):
        return lambda _module, _inputs, output: seen.__setitem__(
            name, output[0] if isinstance(output, tuple) else output
        )

    handles = [
        block.register_forward_pre_hook(lambda _module, inputs: seen.__setitem__("residual", inputs[0])),
        block.post_attention_layernorm.register_forward_hook(note("attention")),
        block.post_feedforward_layernorm.register_forward_hook(note("mlp")),
        block.register_forward_hook(note("after")),
    ]
    model(ids[None].long())
    for handle in handles:
        handle.remove()
    return {name: value[0, 1:].double() for name, value in seen.items()}


@pytest.fixture(scope="module")
def found(bundled_model, tmp_path_factory):
    """Sums of a validation, and its text."""
    stream, tokenizer = bundled_model
    collection, data = collection_of(*LAYERS), text_of(tokenizer)
    sums = ContributionSums(stream, collection.open)
    validated(bundled_model, tmp_path_factory.mktemp("run"), collection, data, observers=[sums], arms=["matched"])
    return sums, collection, data


@pytest.mark.parametrize("layer", LAYERS)
def test_contributions_are_those_of_plain_hooks(found, bundled_model, layer):
    sums, collection, data = found
    sae = collection.open(layer)
    weights = sae.W_enc.double()
    for dataset in sums.datasets:
        one = sums.found_of(layer, dataset)
        expected = {name: torch.zeros(sae.d_sae, dtype=torch.float64) for name in (*SOURCES, "active", "z")}
        everywhere, tokens = dict.fromkeys(SOURCES, 0.0), 0
        for ids in documents(data, dataset):
            parts = by_plain_hooks(bundled_model[0].model, ids, layer)
            z = parts["after"] @ weights + sae.b_enc.double()
            active = z > sae.threshold.double()
            expected["active"] += active.sum(0)
            expected["z"] += (z * active).sum(0)
            for name in SOURCES:
                expected[name] += (parts[name] @ weights * active).sum(0)
                everywhere[name] = everywhere[name] + (parts[name] @ weights).sum(0)
            tokens += len(z)
        assert torch.equal(one.active, expected["active"])
        assert one.tokens == tokens
        count = expected["active"].clamp_min(1)
        torch.testing.assert_close(one.pre_activation / count, expected["z"] / count, rtol=1e-5, atol=1e-4)
        for name in SOURCES:
            torch.testing.assert_close(one.of[name] / count, expected[name] / count, rtol=1e-5, atol=1e-4)
            torch.testing.assert_close(one.everywhere[name], everywhere[name] / tokens, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_contributions_and_bias_sum_to_the_pre_activation(found, layer):
    sums, _, _ = found
    for dataset in sums.datasets:
        one = sums.found_of(layer, dataset)
        assert int(one.known.sum()) > 50
        assert float(one.left[one.known].abs().max()) < 1e-5
        raised = torch.stack([one.raised_by(name) for name in SOURCES]).sum(0)
        torch.testing.assert_close(raised[one.known], torch.ones_like(raised[one.known]))


def test_sums_of_several_processes_are_those_of_one(found, bundled_model):
    sums, collection, data = found
    features = dict.fromkeys(LAYERS, 1024)
    halves = [ContributionSums(bundled_model[0], collection.open) for _ in range(2)]
    for number, half in enumerate(halves):
        half.start(features, sums.datasets)
        for batch in data.batches[number::2]:
            clean = bundled_model[0].capture(batch.input_ids, batch.attention_mask)
            for layer in LAYERS:
                half.add(layer, batch, collection.open(layer).encode(clean.residuals[layer][batch.scored]))
    halves[0].fill([half.flat() for half in halves])
    torch.testing.assert_close(halves[0].flat(), sums.flat(), rtol=1e-6, atol=1e-5)


def test_a_layer_that_adds_something_else_is_refused():
    stream = ResidualStream(random_model("llama"))
    stream.layers[1].register_forward_hook(lambda _module, _inputs, output: 2 * output)
    with pytest.raises(UserError, match="layer 1 of this model adds more to the residual stream than its attention"):
        added_by(stream, torch.tensor([[1, 2, 3]]), None, [1])


def other_site(folder, site, make_sae, layers=LAYERS, **shape):
    collection = saved({layer: make_sae(layer, **shape) for layer in layers}, folder)
    return SAECollection(collection.format, collection.source, layers=collection.layers, site=site)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({}, "name mlp=… or attention=…"),
        ({"mlp": "attention"}, r"mlp=.* reads the site attention; mlp\.site must be mlp"),
        (
            {"attention": "mlp"},
            r"attention=.* reads the site mlp; attention\.site must be attention or attention_output",
        ),
    ],
)
def test_collections_of_other_sites_are_refused(bundled_model, tmp_path, make_sae, modules, message):
    given = {name: other_site(tmp_path / name, site, make_sae, d_in=128) for name, site in modules.items()}
    with pytest.raises(UserError, match=message):
        ProvenanceStudy(bundled_model[0], collection_of(*LAYERS), given)


def test_what_cannot_be_asked_of_these_collections_is_refused(bundled_model, tmp_path, make_sae):
    mlp = other_site(tmp_path / "mlp", "mlp", make_sae, d_in=128)
    elsewhere = other_site(tmp_path / "elsewhere", "mlp", make_sae, layers=(6,), d_in=128)
    narrow = other_site(tmp_path / "narrow", "mlp", make_sae, d_in=8)
    stream, residual = bundled_model[0], collection_of(*LAYERS)
    for message, given, told in (
        ("has an SAE of no layer that sae has one of", {"mlp": elsewhere}, {}),
        ("set evaluation.rotations to at least 1", {"mlp": mlp}, {"rotations": 0}),
        ("no SAE for layer 5", {"mlp": mlp}, {"chosen": [[5, 0]]}),
        (r"such as \[3,17\]; got \[3\] in provenance.features", {"mlp": mlp}, {"chosen": [[3]]}),
    ):
        with pytest.raises(UserError, match=message):
            ProvenanceStudy(stream, residual, given, **told)
    with pytest.raises(UserError, match="the mlp SAE of layer 2 reads width 8, the model's mlp has 128"):
        ProvenanceStudy(stream, residual, {"mlp": narrow}).found()
    of_modules = SAECollection("gemma_scope", bundled.path("saes"), layers=residual.layers, site="mlp")
    with pytest.raises(UserError, match="asked of the residual stream; sae reads the site mlp"):
        ProvenanceStudy(stream, of_modules, {"mlp": mlp})
