"""The look at loading: what depends on the shape of a batch, on padding or on a window is found before any work."""

import logging

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from sae_match.errors import UserError
from sae_match.model.exactness import refuse_inexact
from sae_match.model.residual_stream import ResidualStream
from tests.model.architectures import HIDDEN, LAYERS, VOCABULARY, random_model

TOKENS = torch.tensor([[2, 5, 7, 9, 11, 13], [2, 4, 6, 8, 0, 0]])
MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
WIDE = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "sliding_window": 4096,
}
WITH_WINDOWS = {
    "gemma_2": lambda: Gemma2ForCausalLM(Gemma2Config(**WIDE)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**WIDE)),
}


def bloom(heads=2):
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, n_layer=LAYERS, n_head=heads)
    model = BloomForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return ResidualStream(model)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_bloom_is_resumed_for_several_arms_as_hooks_on_the_whole_model_say(heads, caplog):
    """Its biases have a row for each head of each text, so that they cannot be repeated with the texts."""
    stream = bloom(heads)
    with caplog.at_level(logging.WARNING):
        refuse_inexact(stream, "it")
    assert stream.one_at_a_time == (heads > 1)
    said = "it (BloomForCausalLM) cannot run several arms side by side; one follows another, which takes longer"
    assert [record.getMessage() for record in caplog.records] == [said] * (heads > 1)
    clean = stream.capture(TOKENS, MASK)
    values = [clean.residuals[0] + torch.randn(clean.residuals[0].shape) for _ in range(3)]
    resumed = stream.resume(clean, 0, torch.cat(values)).split(len(TOKENS))
    for value, last in zip(values, resumed, strict=True):
        hook = stream.layers[0].register_forward_hook(
            lambda _module, _inputs, output, value=value: (value, *output[1:])
        )
        expected = stream.model(input_ids=TOKENS, attention_mask=MASK.long()).logits
        hook.remove()
        assert torch.allclose(stream.logits(last)[MASK], expected[MASK], atol=1e-4)


@pytest.mark.parametrize("name", ["gemma", "gemma_2", "gemma_3", "llama", "mistral", "qwen_3", "gpt_2", "gpt_neox"])
def test_arms_of_other_models_run_side_by_side(name, caplog):
    stream = ResidualStream(random_model(name))
    caplog.clear()
    refuse_inexact(stream, "it")
    assert not stream.one_at_a_time
    assert not caplog.records


def test_a_model_whose_texts_see_each_other_is_refused():
    stream = ResidualStream(random_model("llama"))
    stream.layers[1].mlp.register_forward_hook(lambda _module, _inputs, output: output + output.mean(0))
    with pytest.raises(UserError, match=r"it \(LlamaForCausalLM\) gives a text other logits in a padded batch"):
        refuse_inexact(stream, "it")


def test_a_model_that_looks_at_padding_is_refused():
    stream = ResidualStream(random_model("llama"))
    stream.layers[0].mlp.register_forward_hook(lambda _module, _inputs, output: output + output.flip(1))
    with pytest.raises(UserError, match="what it computes depends on other texts or on padding"):
        refuse_inexact(stream, "it")


def test_a_model_that_computes_something_else_for_many_texts_is_resumed_for_one_arm_at_a_time():
    stream = ResidualStream(random_model("llama"))
    stream.layers[2].mlp.register_forward_hook(lambda _module, _inputs, output: output * (2 if len(output) > 2 else 1))
    refuse_inexact(stream, "it")
    assert stream.one_at_a_time


@pytest.mark.parametrize("name", WITH_WINDOWS)
def test_a_sliding_window_is_crossed_whatever_its_width(name):
    torch.manual_seed(0)
    stream, seen = ResidualStream(WITH_WINDOWS[name]()), []
    stream.layers[0].register_forward_pre_hook(
        lambda _module, _inputs, named: seen.append(named["attention_mask"]), with_kwargs=True
    )
    attention = [layer.self_attn for layer in stream.layers if hasattr(layer.self_attn, "sliding_window")]
    before = [module.sliding_window for module in attention]
    refuse_inexact(stream, "it")
    whole = [mask for mask in seen if mask is not None and mask.shape[-1] > 5]
    # The last token of the longest row sees fewer than all that came before it.
    assert whole
    assert all(0 < int((mask[0, 0, -1] == mask[0, 0, -1, -1]).sum()) < 6 for mask in whole)
    assert stream.model.config.sliding_window == 4096
    assert [module.sliding_window for module in attention] == before
    assert not stream.one_at_a_time


def test_a_sliding_window_is_as_wide_as_before_after_a_model_was_refused():
    stream = ResidualStream(WITH_WINDOWS["gemma_2"]())
    stream.layers[1].register_forward_hook(lambda _module, _inputs, output: output + output.mean(0))
    with pytest.raises(UserError, match="gives a text other logits"):
        refuse_inexact(stream, "it")
    assert stream.model.config.sliding_window == 4096
