import pytest
import torch

from sae_match.training.input_scaling import InputScaling
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.trainable_sae import Pass, TrainableSAE

SETTINGS = SAETrainingSettings(d_sae=24, l0=[2.0], l0_start=2.0)


@pytest.fixture
def x():
    return 30 * (torch.randn(64, 6, generator=torch.Generator().manual_seed(0)) + 0.5)


@pytest.fixture
def trained(x):
    """An SAE and its optimiser after three steps."""
    sae = TrainableSAE(SETTINGS, InputScaling.of(x, 0), 2.0, seed=0)
    sae.start(x)
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
    assert torch.allclose((exported(x) - x) * sae.factor, found.error, atol=1e-5)
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


def test_taking_over_an_sae_starts_where_it_stands_whatever_the_scale(trained):
    before = trained[0].exported()
    other = InputScaling(torch.linspace(-5, 5, 6), torch.linspace(0.02, 0.1, 6), 1e9)
    again = TrainableSAE(SETTINGS, other, 2.0, seed=5)
    again.take_over(before)
    after = again.exported()
    for name, tensor in before.tensors().items():
        assert torch.allclose(tensor, after.tensors()[name], rtol=1e-4, atol=1e-4), name


def loss_of(sae, x):
    return sae(x).squared_error.detach()


def test_a_silent_feature_starts_anew_without_making_reconstruction_worse(trained, x):
    sae, optimizer = trained
    sae.log_threshold.data[3] = 20.0
    before = Pass(*(value.detach() for value in sae(x)))
    sae.silent[3] = 300
    kept = sae.W_enc[:, 4].clone()
    renewed = sae.renew(torch.tensor([3]), before, optimizer, torch.Generator().manual_seed(0))
    assert renewed.tolist() == [3]
    assert torch.equal(sae.W_enc[:, 4], kept)
    missing = torch.nn.functional.normalize(-before.error, dim=-1)
    assert (missing - sae.W_dec[3]).abs().sum(1).min() < 1e-6
    assert loss_of(sae, x) < before.squared_error
    assert sae.silent[3] == 0
    for parameter, along in ((sae.W_enc, 1), (sae.W_dec, 0), (sae.b_enc, 0), (sae.log_threshold, 0)):
        moments = optimizer.state[parameter]["exp_avg"]
        assert not moments.index_select(along, torch.tensor([3])).any()
        assert moments.index_select(along, torch.tensor([4])).any()


def test_few_features_start_anew_at_one_time(trained, x):
    sae, optimizer = trained
    silent = torch.arange(10)
    renewed = sae.renew(silent, sae(x), optimizer, torch.Generator().manual_seed(0))
    assert len(renewed) <= 1


def test_nothing_is_renewed_where_nothing_is_silent(trained, x):
    sae, optimizer = trained
    before = sae.exported()
    sae.renew(torch.empty(0, dtype=torch.int64), sae(x), optimizer, torch.Generator())
    assert torch.equal(sae.exported().W_dec, before.W_dec)


def test_every_feature_begins_as_active_as_the_first_aim_asks_for():
    x = torch.randn(2000, 16, generator=torch.Generator().manual_seed(1)) * torch.linspace(1, 50, 16) + 7
    settings = SAETrainingSettings(d_sae=64, l0=[4.0], l0_start=2.0)
    sae = TrainableSAE(settings, InputScaling.of(x, 0), 4.0, seed=0)
    sae.start(x)
    with torch.no_grad():
        found = sae.eval()(x)
    assert float(found.l0) == pytest.approx(8, rel=0.05)
    # Encoders keep the length of decoders: a shorter one would be led astray by the first steps.
    assert torch.equal(sae.W_enc.T, sae.W_dec)


def test_the_spread_of_pre_activations_is_followed_while_training():
    x = torch.randn(500, 8, generator=torch.Generator().manual_seed(1))
    sae = TrainableSAE(SETTINGS, InputScaling.of(x, 0), 2.0, seed=0)
    sae.start(x)
    first = sae.spread.clone()
    sae.W_enc.data *= 3
    for _ in range(300):
        sae(x)
    assert torch.allclose(sae.spread, 3 * first, rtol=0.1)


def test_features_start_anew_within_mixed_precision_too(trained, x):
    sae, optimizer = trained
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Pass(*(value.detach() for value in sae(x)))
        sae.renew(torch.tensor([3]), found, optimizer, torch.Generator().manual_seed(0))
    assert all(torch.isfinite(parameter).all() for parameter in sae.parameters())
