import inspect
import logging
import shutil
from copy import deepcopy

import pytest
import torch
from torch import nn

from sae_match.model.speed import fusing
from sae_match.model.speed.capped_attention import _weights
from sae_match.model.speed.fusing import Fused, fuse_norms, unfuse_norms
from sae_match.model.speed.losses import _in_one_pass, _losses, losses_of
from tests.model.architectures import random_model

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
# What torch's compiler uses of torch is what torch warns of.
of_torch_itself = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


@pytest.fixture
def _at_any_size(monkeypatch):
    monkeypatch.setattr(Fused, "large", 0)


def fused(function, compiled=None):
    return Fused(function, "what is tried", compiled, devices=("cpu",))


def logits(softcap=None, tokens=6, words=50):
    generator = torch.Generator().manual_seed(0)
    return 5 * torch.randn(tokens, words, generator=generator), torch.arange(tokens), softcap


@needs_compiler
@of_torch_itself
@pytest.mark.usefixtures("_at_any_size")
@torch.no_grad()
def test_a_fused_function_gives_what_the_function_gives():
    made = fused(_losses, _in_one_pass)
    for tokens in (6, 7, 6, 11):
        expected = _losses(*logits(30.0, tokens))
        assert torch.allclose(made(*logits(30.0, tokens)), expected, rtol=1e-5)
    assert made._compiled is not None


@needs_compiler
@of_torch_itself
@pytest.mark.usefixtures("_at_any_size")
@torch.no_grad()
def test_weights_of_attention_are_the_same_fused():
    scores = torch.randn(2, 2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = torch.where(torch.arange(7) > torch.arange(5)[:, None] + 2, torch.finfo(torch.bfloat16).min, 0.0)
    mask = mask.bfloat16().expand(2, 1, 1, 5, 7)
    # Types of arguments are checked in tests, which torch cannot compile.
    made = fused(inspect.unwrap(_weights))
    found, expected = made(scores.clone(), mask, 50.0), _weights(scores.clone(), mask, 50.0)
    assert made._compiled is not None
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), atol=4e-3)
    assert (found.float().sum(-1) - 1).abs().max() < 0.02


@pytest.mark.usefixtures("_at_any_size")
@torch.no_grad()
def test_a_function_that_comes_out_different_stays_as_it_is(monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    made = fused(lambda x: x.mul_(2), lambda x: x.mul_(2.001))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(made(torch.ones(3)), torch.full((3,), 2.0))
    assert "differs by 0.0005" in caplog.text
    assert torch.equal(made(torch.ones(3)), torch.full((3,), 2.0))


@pytest.mark.usefixtures("_at_any_size")
@torch.no_grad()
def test_where_nothing_can_be_compiled_it_stays_as_it_is(monkeypatch, caplog):
    def broken(_):
        raise RuntimeError("Failed to find C compiler.\nand more")

    monkeypatch.setattr(torch, "compile", lambda _: broken)
    made = fused(lambda x: x + 1)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(made(torch.ones(3)), torch.full((3,), 2.0))
    assert "cannot compile it here (Failed to find C compiler.)" in caplog.text
    caplog.clear()
    assert torch.equal(made(torch.ones(3)), torch.full((3,), 2.0))
    assert not caplog.text


def test_small_tensors_other_devices_and_gradients_are_not_fused(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda _: pytest.fail("compiled"))
    small = torch.ones(3)
    with torch.no_grad():
        assert torch.equal(fused(torch.neg)(small), -small)
    monkeypatch.setattr(Fused, "large", 0)
    with torch.no_grad():
        assert torch.equal(Fused(torch.neg, "what is tried")(small), -small)
    assert torch.equal(fused(torch.neg)(small), -small)


def test_losses_are_those_of_the_library():
    for softcap in (None, 30.0):
        given, targets, _ = logits()
        capped = given if softcap is None else softcap * torch.tanh(given / softcap)
        expected = nn.functional.cross_entropy(capped, targets, reduction="none")
        for found in (losses_of(given.clone(), targets, softcap), _in_one_pass(given, targets, softcap)):
            assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["gemma_2", "llama", "qwen_3", "gpt_2"])
def test_norms_whose_steps_may_be_fused_are_the_norms_that_they_were(name):
    model = random_model(name).eval()
    before = deepcopy(model)
    fuse_norms(model)
    tokens = torch.tensor([[2, 5, 7, 9]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens).logits, before(input_ids=tokens).logits)
    assert list(model.state_dict()) == list(before.state_dict())
    norms = [module for module in model.modules() if type(module).__name__.endswith(fusing._NORM)]
    assert bool(norms) == (name != "gpt_2")
    assert all(type(norm).__mro__[1].__name__ == type(norm).__name__ for norm in norms)
    assert len({type(norm) for norm in norms}) <= 1
    unfuse_norms(model)
    pairs = zip(model.modules(), before.modules(), strict=True)
    assert all(type(module) is type(own) for module, own in pairs)


@pytest.mark.usefixtures("_at_any_size")
@torch.no_grad()
def test_too_little_memory_is_not_the_compiler_s_doing(monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda _: full)
    with pytest.raises(torch.OutOfMemoryError):
        fused(lambda x: x + 1)(torch.ones(3))
