import pytest
import torch

TOKENS = torch.tensor([[2, 5, 7, 9, 11, 13, 17, 19, 23, 29], [2, 4, 6, 8, 10, 12, 0, 0, 0, 0]])
MASK = torch.tensor([[True] * 10, [True] * 6 + [False] * 4])


def test_residuals_are_layer_outputs_and_the_last_is_before_the_final_norm(tiny_stream):
    clean = tiny_stream.capture(TOKENS, MASK)
    whole = tiny_stream.model(input_ids=TOKENS, attention_mask=MASK.long(), output_hidden_states=True)
    assert len(clean.residuals) == tiny_stream.n_layers == 3
    for layer in (0, 1):
        assert torch.equal(clean.residuals[layer], whole.hidden_states[layer + 1])
    assert not torch.equal(clean.residuals[2], whole.hidden_states[3])
    assert torch.equal(tiny_stream.final_norm(clean.residuals[2]), whole.hidden_states[3])
    assert torch.equal(tiny_stream.logits(clean.residuals[2]), whole.logits)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_resuming_with_the_true_residual_changes_nothing_at_all(tiny_stream, layer):
    clean = tiny_stream.capture(TOKENS, MASK)
    assert torch.equal(tiny_stream.resume(clean, layer, clean.residuals[layer]), clean.last)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_resuming_equals_a_full_forward_with_a_replacing_hook(tiny_stream, layer):
    clean = tiny_stream.capture(TOKENS, MASK)
    stand_in = clean.residuals[layer] + torch.randn(clean.residuals[layer].shape)
    hook = tiny_stream.layers[layer].register_forward_hook(lambda *_: stand_in)
    expected = tiny_stream.model(input_ids=TOKENS, attention_mask=MASK.long()).logits
    hook.remove()
    assert torch.equal(tiny_stream.logits(tiny_stream.resume(clean, layer, stand_in)), expected)


def test_losses_equal_the_naive_cross_entropy_and_do_not_depend_on_blocks(tiny_stream):
    clean = tiny_stream.capture(TOKENS, MASK)
    logits = tiny_stream.model(input_ids=TOKENS, attention_mask=MASK.long()).logits.double()
    naive = -logits.log_softmax(-1)[:, :-1].gather(-1, TOKENS[:, 1:, None]).squeeze(-1)
    for block in (None, 1, 4, 1000):
        losses = tiny_stream.next_token_losses(clean.last, TOKENS, block=block)
        assert torch.allclose(losses.double(), naive, atol=1e-5)


def test_losses_leave_the_residual_as_it_was(tiny_stream):
    clean = tiny_stream.capture(TOKENS, MASK)
    before = clean.last.clone()
    tiny_stream.next_token_losses(clean.last, TOKENS)
    assert torch.equal(clean.last, before)


def test_padding_does_not_reach_the_tokens_before_it(tiny_stream):
    padded = tiny_stream.capture(TOKENS, MASK).last[1, :6]
    alone = tiny_stream.capture(TOKENS[1:, :6], MASK[1:, :6]).last[0]
    assert torch.allclose(padded, alone, atol=1e-5)


def test_the_model_is_frozen_and_stays_in_evaluation_mode(tiny_stream):
    tiny_stream.train()
    assert not any(module.training for module in tiny_stream.modules())
    assert not any(parameter.requires_grad for parameter in tiny_stream.parameters())


def test_hooks_are_gone_after_a_capture_that_failed(tiny_stream):
    # Other code may have hooks of its own there.
    before = [dict(layer._forward_hooks) for layer in tiny_stream.layers]
    with pytest.raises(IndexError):
        tiny_stream.capture(torch.tensor([[2, 10_000]]))
    assert [dict(layer._forward_hooks) for layer in tiny_stream.layers] == before
