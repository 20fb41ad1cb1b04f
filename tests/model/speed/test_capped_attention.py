"""The attention of `transformers` itself is the oracle: plain, whole, with `tanh`."""

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from sae_match.model.speed.capped_attention import capped_attention

HUGELY_NEGATIVE = torch.finfo(torch.float32).min


def drawn(*, length, batch=2, heads=4, groups=2, width=8, scale=3.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(length)
    shapes = ((batch, heads, length, width), (batch, groups, length, width), (batch, groups, length, width))
    return [(scale * torch.randn(shape, generator=generator)).to(dtype) for shape in shapes]


def mask_of(length, *, window=None, padded=0, batch=2):
    """Of as many texts, the last of which has some padding at its end."""
    query, key = torch.arange(length)[:, None], torch.arange(length)[None]
    seen = (key <= query) & (query - key < (window or length))
    seen = seen.expand(batch, 1, length, length).clone()
    seen[-1, :, :, length - padded :] &= torch.tensor(padded == 0)
    return torch.where(seen, 0.0, HUGELY_NEGATIVE)


def agree(found, expected, value):
    """To what rounding a sigmoid in float32 leaves of a score that is capped at 50."""
    bound = 100 * torch.finfo(torch.float32).eps * float(value.abs().max())
    return found.shape == expected.shape and float((found - expected).abs().max()) <= bound


def both(query, key, value, mask, *, window=None, softcap=50.0, is_causal=True):
    module = nn.Module().eval()
    module.num_key_value_groups, module.is_causal = query.shape[1] // key.shape[1], is_causal
    named = {"scaling": 0.3, "softcap": softcap, "sliding_window": window}
    found, _ = capped_attention(module, query, key, value, mask, **named)
    expected, _ = eager_attention_forward(module, query, key, value, mask, **named)
    return found, expected


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("window", [None, 1, 5, 64, 1000])
def test_every_query_sees_what_it_sees_in_the_library(length, window):
    query, key, value = drawn(length=length)
    found, expected = both(query, key, value, mask_of(length, window=window), window=window)
    assert agree(found, expected, value)


@pytest.mark.parametrize("softcap", [1.0, 50.0])
@pytest.mark.parametrize("scale", [0.01, 3.0, 100.0])
def test_scores_far_beyond_the_cap_and_far_below_it(scale, softcap):
    query, key, value = drawn(length=70, scale=scale)
    found, expected = both(query, key, value, mask_of(70), softcap=softcap)
    _, truth = both(query.double(), key.double(), value.double(), mask_of(70).double(), softcap=softcap)
    # Large scores are rounded before they are capped, here and there alike.
    rounding = 2 * softcap * torch.finfo(torch.float32).eps * float(value.abs().max())
    assert (found - truth).abs().max() <= 2 * (expected - truth).abs().max() + rounding


def test_padding_is_not_seen_and_gives_something_finite():
    query, key, value = drawn(length=100)
    found, expected = both(query, key, value, mask_of(100, window=10, padded=40), window=10)
    assert agree(found[:1], expected[:1], value)
    assert agree(found[1, :60], expected[1, :60], value)
    assert torch.isfinite(found).all()


def test_where_queries_see_what_comes_after_them_nothing_is_left_out():
    length = 130
    nothing_hidden = torch.zeros(2, 1, length, length)
    query, key, value = drawn(length=length)
    found, expected = both(query, key, value, nothing_hidden, is_causal=False)
    assert agree(found, expected, value)


def test_half_precision_is_no_farther_from_the_truth_than_the_library():
    exact = drawn(length=90)
    query, key, value = (some.bfloat16() for some in exact)
    found, expected = both(query, key, value, mask_of(90).bfloat16())
    _, truth = both(query.double(), key.double(), value.double(), mask_of(90).double())
    assert found.dtype == torch.bfloat16
    assert (found - truth).abs().mean() <= 1.01 * (expected - truth).abs().mean()


def test_each_group_of_keys_serves_its_own_heads():
    query, key, value = drawn(length=20, heads=6, groups=3)
    found, expected = both(query, key, value, mask_of(20))
    assert agree(found, expected, value)
