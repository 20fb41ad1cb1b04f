"""A model whose weights lie in several places: here in main memory and on disk, elsewhere on several GPUs."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from sae_match import bundled
from sae_match.model.exactness import refuse_inexact
from sae_match.model.loading import load_model
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.saes.sites import SITES
from tests.model.architectures import LAYERS, random_model

TOKENS = torch.tensor([[2, 5, 7, 9, 11, 13]])


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """The same model whole and divided."""
    folder = tmp_path_factory.mktemp("model")
    random_model("llama").save_pretrained(folder)
    places = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    places |= {f"model.layers.{layer}": "disk" if layer == 1 else "cpu" for layer in range(LAYERS)}
    divided = AutoModelForCausalLM.from_pretrained(folder, device_map=places, offload_folder=folder / "offload")
    whole = AutoModelForCausalLM.from_pretrained(folder)
    return ResidualStream(whole), ResidualStream(divided)


def test_a_divided_model_gives_the_same_residuals(streams):
    whole, divided = (stream.capture(TOKENS) for stream in streams)
    assert all(
        torch.equal(one, other) for one, other in zip(whole.residuals.values(), divided.residuals.values(), strict=True)
    )


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_divided_model_resumes_like_a_whole_one(streams, site, layer):
    resumed = []
    for stream in streams:
        clean = stream.capture(TOKENS, site=site)
        torch.manual_seed(0)
        other = clean.values[layer] + torch.randn(clean.values[layer].shape)
        resumed.append(stream.next_token_losses(stream.resume(clean, layer, other, site), TOKENS))
    assert torch.equal(*resumed)


def test_a_divided_model_stays_where_it_is(streams):
    whole, divided = streams
    assert (whole.is_sharded, divided.is_sharded) == (False, True)
    assert divided.to("meta") is divided
    refuse_inexact(divided, "it")


def test_a_map_can_be_asked_for():
    stream, _ = load_model(ModelSettings(bundled.path("model"), device_map="auto"))
    assert not stream.is_sharded
