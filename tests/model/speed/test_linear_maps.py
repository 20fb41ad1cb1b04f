import pytest
import torch
from torch import nn

from sae_match.model.speed.linear_maps import FrozenLinear, freeze_linear_maps, unfreeze_linear_maps


def pair_of_maps(d_in=48, d_out=20, *, bias=True, dtype=torch.float32):
    torch.manual_seed(0)
    plain = nn.Linear(d_in, d_out, bias=bias).to(dtype).requires_grad_(False)
    frozen = nn.Linear(d_in, d_out, bias=bias).to(dtype).requires_grad_(False)
    frozen.load_state_dict(plain.state_dict())
    freeze_linear_maps(frozen)
    return plain, frozen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (7, 48), (2, 3, 48), (2, 0, 48), (300, 48)])
def test_a_frozen_map_is_the_map(shape, bias):
    plain, frozen = pair_of_maps(bias=bias)
    x = torch.randn(shape)
    with torch.no_grad():
        assert type(frozen) is FrozenLinear
        assert frozen(x).shape == plain(x).shape
        exact = x.double() @ plain.weight.double().T + (plain.bias.double() if bias else 0)
        assert torch.allclose(frozen(x).double(), exact, atol=1e-6)


def test_rows_that_do_not_lie_behind_each_other():
    plain, frozen = pair_of_maps()
    x = torch.randn(48, 30).T
    with torch.no_grad():
        assert torch.allclose(frozen(x), plain(x), atol=1e-6)
        assert torch.allclose(frozen(x[::2]), plain(x[::2]), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_of_other_dtypes_it_is_torch_s_own(dtype):
    plain, frozen = pair_of_maps(dtype=dtype)
    x = torch.randn(5, 48, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(frozen(x), plain(x))


def test_gradients_go_through_it():
    plain, frozen = pair_of_maps()
    x = torch.randn(5, 48, requires_grad=True)
    assert torch.equal(*(torch.autograd.grad(layer(x).square().sum(), x)[0] for layer in (plain, frozen)))


def test_what_is_more_than_a_linear_map_stays_what_it_is():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = nn.ModuleDict({"a": Doubled(3, 3), "b": nn.Linear(3, 3), "c": nn.Bilinear(3, 3, 3)})
    names = list(model.state_dict())
    freeze_linear_maps(model)
    assert [type(module) for module in model.values()] == [Doubled, FrozenLinear, nn.Bilinear]
    assert list(model.state_dict()) == names
    unfreeze_linear_maps(model)
    assert [type(module) for module in model.values()] == [Doubled, nn.Linear, nn.Bilinear]
