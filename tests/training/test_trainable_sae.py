import pytest
import torch

from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.trainable_sae import TrainableSAE

SETTINGS = SAETrainingSettings(d_sae=24, l0=[2.0], l0_start=2.0)


@pytest.fixture
def x():
    return 30 * (torch.randn(64, 6, generator=torch.Generator().manual_seed(0)) + 0.5)


@pytest.fixture
def trained(x):
    """An SAE and its optimiser after three steps."""
    sae = TrainableSAE(SETTINGS, x.mean(0), x.square().sum(-1).mean().sqrt(), 2.0, seed=0)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        found = sae(x)
        (found.squared_error + found.l0).backward()
        optimizer.step()
        sae.normalise()
    return sae, optimizer


def test_the_exported_sae_does_on_raw_activations_what_was_trained_on_scaled_ones(trained, x):
    sae, _ = trained
    found, exported = sae(x), sae.exported()
    assert torch.allclose(exported(x) - x, found.error * sae.scale, atol=1e-3)
    assert float((exported.encode(x) > 0).float().sum(1).mean()) == pytest.approx(found.l0.item())
    assert torch.allclose(exported.W_dec.norm(dim=1), torch.ones(24), atol=1e-5)
    assert (exported.threshold > 0).all()


def test_features_are_silent_for_as_many_batches_as_they_were(trained, x):
    sae, _ = trained
    sae.log_threshold.data[7] = 20.0
    sae.silent.zero_()
    for _ in range(3):
        sae(x)
    assert sae.silent[7] == 3
    active = (sae.exported().encode(x) > 0).any(0)
    assert (sae.silent[active] == 0).all()


def test_taking_over_an_sae_starts_where_it_stands_whatever_the_scale(trained, x):
    before = trained[0].exported()
    again = TrainableSAE(SETTINGS, x.mean(0), torch.tensor(7.0), 2.0, seed=5)
    again.take_over(before)
    after = again.exported()
    for name, tensor in before.tensors().items():
        assert torch.allclose(tensor, after.tensors()[name], rtol=1e-4, atol=1e-4), name


def test_silent_features_get_a_new_start_and_forget_their_momentum(trained, x):
    sae, optimizer = trained
    error = sae(x).error.detach()
    sae.silent[[3, 5]] = 300
    kept = sae.W_enc[:, 4].clone()
    sae.renew(torch.tensor([3, 5]), error, optimizer, torch.Generator().manual_seed(0))
    assert torch.equal(sae.W_enc[:, 4], kept)
    assert torch.equal(sae.W_enc[:, [3, 5]].T, sae.W_dec[[3, 5]])
    missing = torch.nn.functional.normalize(-error, dim=-1)
    assert all((missing - row).abs().sum(1).min() == 0 for row in sae.W_dec[[3, 5]])
    assert sae.silent[[3, 5]].tolist() == [0, 0]
    for parameter, along in ((sae.W_enc, 1), (sae.W_dec, 0), (sae.b_enc, 0), (sae.log_threshold, 0)):
        moments = optimizer.state[parameter]["exp_avg"]
        assert not moments.index_select(along, torch.tensor([3, 5])).any()
        assert moments.index_select(along, torch.tensor([4])).any()


def test_nothing_is_renewed_where_nothing_is_silent(trained, x):
    sae, optimizer = trained
    before = sae.exported()
    sae.renew(torch.empty(0, dtype=torch.int64), sae(x).error.detach(), optimizer, torch.Generator())
    assert torch.equal(sae.exported().W_dec, before.W_dec)
