import logging

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from sae_match import bundled
from sae_match.model.loading import load_model
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.model.speed import hastening
from sae_match.model.speed.hastening import hasten
from sae_match.model.speed.linear_maps import FrozenLinear
from tests.model.architectures import random_model

TOKENS = torch.tensor([[2, 5, 7, 9, 11, 13, 2, 4, 6, 8], [2, 4, 6, 8, 3, 1, 0, 0, 0, 0]])
MASK = torch.tensor([[True] * 10, [True] * 6 + [False] * 4])


def linear_maps(model):
    return {type(module) for module in model.modules() if isinstance(module, nn.Linear)}


def said(model):
    with torch.no_grad():
        return model(input_ids=TOKENS, attention_mask=MASK.long(), use_cache=False).logits[MASK]


@pytest.mark.parametrize("name", ["gemma", "gemma_2", "gemma_3", "llama", "mistral", "qwen_3", "gpt_2", "gpt_neox"])
def test_a_hastened_model_says_what_it_said(name, caplog):
    model = random_model(name).eval()
    before, own = said(model), model.config._attn_implementation
    with caplog.at_level(logging.WARNING):
        hasten(ResidualStream(model), name)
    assert "faster parts" not in caplog.text
    assert torch.allclose(said(model), before, atol=1e-4, rtol=1e-4)
    assert model.config._attn_implementation == ("capped" if name == "gemma_2" else own)
    # GPT-2 has matrices of another kind, and a head.
    assert linear_maps(model) == {FrozenLinear}


def test_attention_that_was_asked_for_stays():
    stream, _ = load_model(ModelSettings(bundled.path("model"), attention="eager"))
    assert stream.model.config._attn_implementation == "eager"
    stream, _ = load_model(ModelSettings(bundled.path("model")))
    assert stream.model.config._attn_implementation == "capped"


def test_the_bundled_model_s_losses_are_those_of_the_library():
    stream, tokenizer = load_model(ModelSettings(bundled.path("model")))
    plain = AutoModelForCausalLM.from_pretrained(
        bundled.path("model"), dtype=torch.float32, attn_implementation="eager"
    )
    ids = torch.tensor([tokenizer("The state of the union is what this long sentence is about. " * 20)["input_ids"]])
    with torch.no_grad():
        logits = plain(input_ids=ids, use_cache=False).logits
        expected = nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")
        found = stream.next_token_losses(stream.capture(ids).last, ids)[0]
    assert torch.allclose(found, expected, atol=2e-5)
    assert abs(float(found.mean() - expected.mean())) < 5e-7 * float(expected.mean())


def test_parts_that_change_what_is_said_are_taken_back(monkeypatch, caplog):
    def wrongly(model):
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = Wrong

    class Wrong(FrozenLinear):
        def forward(self, x):
            return 1.1 * super().forward(x)

    def rightly(model):
        for module in model.modules():
            if type(module) is Wrong:
                module.__class__ = nn.Linear

    monkeypatch.setattr(hastening, "freeze_linear_maps", wrongly)
    monkeypatch.setattr(hastening, "unfreeze_linear_maps", rightly)
    model = random_model("gemma_2").eval()
    before = said(model)
    with caplog.at_level(logging.WARNING):
        hasten(ResidualStream(model), "it")
    assert "it says something else with faster parts" in caplog.text
    assert torch.equal(said(model), before)
    assert model.config._attn_implementation == "eager"
    assert linear_maps(model) == {nn.Linear}
