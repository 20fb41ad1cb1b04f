"""Capturing and resuming, against plain hooks on the whole model, for every architecture and site."""

import pytest
import torch

from sae_match.errors import UserError
from sae_match.model.exactness import refuse_inexact
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sites import SITES
from tests.model.architectures import ARCHITECTURES, ATTENTION_WIDTH, HIDDEN, LAYERS, random_model

TOKENS = torch.tensor([[2, 5, 7, 9, 11, 13, 17, 19, 23, 29], [2, 4, 6, 8, 10, 12, 0, 0, 0, 0]])
MASK = torch.tensor([[True] * 10, [True] * 6 + [False] * 4])
architectures = pytest.mark.parametrize("stream", ARCHITECTURES, indirect=True)
sites = pytest.mark.parametrize("site", SITES)


@pytest.fixture(scope="module")
def stream(request):
    return ResidualStream(random_model(request.param))


def logits(stream):
    return stream.model(input_ids=TOKENS, attention_mask=MASK.long()).logits


@architectures
def test_residuals_are_the_hidden_states_of_the_model(stream):
    clean = stream.capture(TOKENS, MASK)
    states = stream.model(input_ids=TOKENS, attention_mask=MASK.long(), output_hidden_states=True).hidden_states
    assert len(clean.residuals) == stream.n_layers == LAYERS
    assert stream.d_in == HIDDEN
    assert torch.equal(clean.embedded, states[0])
    for layer in range(LAYERS - 1):
        assert torch.equal(clean.residuals[layer], states[layer + 1])
    assert torch.equal(stream.logits(clean.last), logits(stream))


@architectures
@sites
def test_values_are_as_wide_as_they_say(stream, site):
    clean = stream.capture(TOKENS, MASK, site)
    assert [tuple(value.shape) for value in clean.values.values()] == [(2, 10, stream.width(site))] * LAYERS


@architectures
@sites
@pytest.mark.parametrize("layer", range(LAYERS))
def test_resuming_with_the_true_value_changes_nothing_at_all(stream, site, layer):
    clean = stream.capture(TOKENS, MASK, site)
    resumed = stream.resume(clean, layer, clean.values[layer], site)
    assert torch.equal(resumed, clean.last)
    assert torch.equal(stream.logits(resumed), logits(stream))


@architectures
@pytest.mark.parametrize("layer", range(LAYERS))
def test_resuming_with_another_residual_equals_a_pass_with_a_hook(stream, layer):
    clean = stream.capture(TOKENS, MASK)
    other = clean.residuals[layer] + torch.randn(clean.residuals[layer].shape)
    hook = stream.layers[layer].register_forward_hook(lambda *_: other)
    expected = logits(stream)
    hook.remove()
    assert not torch.equal(expected, logits(stream))
    assert torch.equal(stream.logits(stream.resume(clean, layer, other)), expected)


@architectures
@pytest.mark.parametrize("layer", range(LAYERS))
def test_the_residual_before_a_layer_is_the_one_after_the_layer_before(stream, layer):
    clean = stream.capture(TOKENS, MASK, "residual_before")
    other = clean.values[layer] + torch.randn(clean.values[layer].shape)
    resumed = stream.resume(clean, layer, other, "residual_before")
    if layer == 0:
        assert torch.equal(clean.values[0], clean.embedded)
        assert not torch.equal(resumed, clean.last)
    else:
        assert torch.equal(resumed, stream.resume(clean, layer - 1, other))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_heads_are_put_side_by_side(name):
    assert ResidualStream(random_model(name)).width("attention") == ATTENTION_WIDTH[name]


@architectures
def test_what_the_mlp_adds_is_missing_without_it(stream):
    """In an architecture that adds the MLP's output last, the residual without it is the residual less the value."""
    clean = stream.capture(TOKENS, MASK, "mlp")
    last = LAYERS - 1
    without = stream.resume(clean, last, torch.zeros_like(clean.values[last]), "mlp")
    assert torch.allclose(without + clean.values[last], clean.residuals[last], atol=1e-5)


@architectures
def test_attention_heads_of_zero_leave_only_what_is_not_attention(stream):
    clean = stream.capture(TOKENS, MASK, "attention")
    changed = stream.resume(clean, 1, torch.zeros_like(clean.values[1]), "attention")
    assert not torch.allclose(changed, clean.last, atol=1e-3)


@architectures
def test_every_architecture_passes_the_look_at_a_few_tokens(stream):
    refuse_inexact(stream, "it")


def test_a_model_that_does_something_between_its_layers_is_refused():
    model = random_model("llama")
    stream = ResidualStream(model)
    stream.layers[1].register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2, *inputs[1:]))
    plain = stream.model.forward
    stream.model.forward = lambda **arguments: type("Output", (), {"logits": plain(**arguments).logits + 1})
    with pytest.raises(UserError, match=r"it \(LlamaForCausalLM\) cannot be resumed from layer 0: .* by up to 1"):
        refuse_inexact(stream, "it")


def test_a_model_whose_layers_share_more_than_the_residual_is_refused():
    stream, shared = ResidualStream(random_model("llama")), {}
    stream.layers[1].register_forward_hook(lambda _module, _inputs, output: shared.update(second=output))
    stream.layers[2].register_forward_hook(lambda _module, _inputs, output: output + shared["second"])
    with pytest.raises(UserError, match="cannot be resumed from layer 1"):
        refuse_inexact(stream, "it")


def test_a_model_whose_weights_are_not_finite_is_named():
    model = random_model("llama")
    model.model.norm.weight.data[0] = torch.nan
    with pytest.raises(UserError, match="it gives logits that are not finite; are its weights sound"):
        refuse_inexact(ResidualStream(model), "it")


def test_a_model_without_decoder_layers_is_refused():
    from transformers import BertConfig, BertLMHeadModel

    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(UserError, match="BertLMHeadModel is built like none of the models that are known here"):
        ResidualStream(BertLMHeadModel(config))


@pytest.mark.usefixtures("as_a_user")
def test_a_site_that_does_not_exist_is_refused():
    stream = ResidualStream(random_model("llama"))
    with pytest.raises(UserError, match="unknown site 'mlp_out'; there are residual, residual_before, mlp, attention"):
        stream.anatomy.place("mlp_out", 0)


@architectures
@pytest.mark.parametrize("site", SITES)
def test_several_stand_ins_side_by_side_are_each_resumed_alone(stream, site):
    clean = stream.capture(TOKENS, MASK, site, keep=[1])
    values = [clean.values[1] + torch.randn(clean.values[1].shape) for _ in range(3)]
    together = stream.resume(clean, 1, torch.cat(values), site)
    for value, last in zip(values, together.split(len(TOKENS)), strict=True):
        assert torch.allclose(last, stream.resume(clean, 1, value, site), atol=1e-5)


@architectures
@pytest.mark.parametrize("site", SITES)
def test_only_what_is_kept_is_held(stream, site):
    whole, part = stream.capture(TOKENS, MASK, site), stream.capture(TOKENS, MASK, site, keep=[1])
    assert set(part.values) == {1}
    assert torch.equal(part.values[1], whole.values[1])
    assert torch.equal(part.last, whole.last)
    assert len(part.residuals) <= 3
    assert torch.equal(stream.resume(part, 1, part.values[1], site), whole.last)


def attention_of(layer):
    return next(getattr(layer, name) for name in ("self_attn", "attn", "attention") if hasattr(layer, name))


def what_goes_into(module, stream):
    """The first thing that a module is given in a whole pass."""
    seen = []

    def look(_, inputs, named):
        seen.append(inputs[0] if inputs else named["hidden_states"])

    hook = module.register_forward_pre_hook(look, with_kwargs=True)
    logits(stream)
    hook.remove()
    return seen[0]


@architectures
def test_a_residual_as_the_next_block_reads_it_is_what_its_attention_is_given(stream):
    clean = stream.capture(TOKENS, MASK)
    for layer in range(LAYERS):
        reader = stream.head if layer == LAYERS - 1 else attention_of(stream.layers[layer + 1])
        read = stream.as_read("residual", layer, clean.residuals[layer])
        assert torch.equal(read, what_goes_into(reader, stream))
    own = stream.as_read("residual_before", 1, clean.residuals[0])
    assert torch.equal(own, what_goes_into(attention_of(stream.layers[1]), stream))


@architectures
def test_what_an_attention_or_an_mlp_gives_is_read_by_no_norm(stream):
    for site in set(SITES) - {"residual", "residual_before"}:
        assert stream.anatomy.reading_norm(site, 0) is None
        with pytest.raises(ValueError, match=f"no norm reads the {site} of layer 0"):
            stream.as_read(site, 0, torch.zeros(1, HIDDEN))


def test_a_model_with_its_norms_behind_its_blocks_reads_through_none_but_the_last():
    stream = ResidualStream(random_model("llama"))
    for layer in stream.layers:
        del layer.input_layernorm
    found = [stream.anatomy.reading_norm("residual", layer) for layer in range(LAYERS)]
    assert found == [None, None, stream.final_norm]


@architectures
@pytest.mark.parametrize("site", SITES)
def test_a_pass_that_is_not_whole_ends_at_the_last_layer_that_is_kept(stream, site):
    ran = []
    handles = [layer.register_forward_hook(lambda module, *_: ran.append(module)) for layer in stream.layers]
    whole, part = (stream.capture(TOKENS, MASK, site, keep=[0, 1], whole=which) for which in (True, False))
    for handle in handles:
        handle.remove()
    assert ran == [*stream.layers, *stream.layers[:2]]
    assert all(torch.equal(part.values[layer], whole.values[layer]) for layer in (0, 1))
    assert torch.equal(part.last, stream.capture(TOKENS, MASK).residuals[1])
    with pytest.raises(ValueError, match="a pass that was not whole cannot be resumed"):
        stream.resume(part, 1, part.values[1], site)
    # Nothing is left behind.
    assert torch.equal(stream.capture(TOKENS, MASK, site).last, whole.last)
