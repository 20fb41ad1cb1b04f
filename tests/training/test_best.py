import pytest
import torch

from sae_match.errors import UserError
from sae_match.training.best import BestState
from sae_match.training.input_scaling import InputScaling
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.trainable_sae import TrainableSAE


@pytest.fixture
def sae():
    return TrainableSAE(SAETrainingSettings(d_sae=8, l0=[2.0]), InputScaling.blank(4), 2.0, seed=0)


def test_the_state_of_least_loss_comes_back(sae):
    best = BestState(3)
    for step, loss in enumerate((0.5, 0.3, 0.4)):
        sae.b_dec.data.fill_(loss)
        best.look(sae, step, loss, loss, counts=True)
    best.put_back(sae)
    assert best.step == 1
    assert torch.allclose(sae.b_dec, torch.full((4,), 0.3))


def test_states_before_the_aim_is_reached_do_not_count(sae):
    best = BestState(3)
    sae.b_dec.data.fill_(1.0)
    best.look(sae, 1, 0.1, 0.1, counts=False)
    sae.b_dec.data.fill_(2.0)
    best.put_back(sae)
    assert (sae.b_dec == 2.0).all()


def test_it_goes_on_from_what_another_noted(sae):
    first, second = BestState(3), BestState(3)
    first.look(sae, 5, 0.2, 0.2, counts=True)
    second.load_state_dict(first.state_dict())
    second.look(sae, 6, 0.3, 0.3, counts=True)
    assert second.step == 5
    assert second.parameters.keys() == dict(sae.named_parameters()).keys()


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 1.7])
def test_a_training_that_has_gone_astray_says_so(sae, error):
    best = BestState(3)
    best.look(sae, 1, 0.6, 0.6, counts=False)
    with pytest.raises(UserError, match=r"training of layer 3 has gone astray: at step 9 .* training\.learning_rate"):
        best.look(sae, 9, error, error, counts=False)


def test_a_bad_beginning_is_not_astray(sae):
    BestState(3).look(sae, 1, 1.8, 1.8, counts=False)
