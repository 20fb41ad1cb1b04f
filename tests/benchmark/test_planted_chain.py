import pytest
import torch

from sae_match.benchmark.planted_chain import Plan, planted_chain


def test_a_seed_always_makes_the_same_dictionaries():
    first, again, other = (planted_chain(Plan(0.5), 16, 50, seed=seed)[1].sae.content_hash() for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("new", [0.0, 0.3, 1.0])
def test_so_many_features_go_on_and_look_alike(new):
    one, other = planted_chain(Plan(new), 64, 2000)
    goes_on = torch.isin(one.who, other.who)
    assert float(goes_on.double().mean()) == pytest.approx(1 - new, abs=0.04)
    where = {number: place for place, number in enumerate(other.who.tolist())}
    if new < 1:
        at = goes_on.nonzero().flatten()
        partner = torch.tensor([where[number] for number in one.who[at].tolist()])
        assert float((one.sae.W_dec[at] * other.sae.W_dec[partner]).sum(1).mean()) == pytest.approx(2 / 3, abs=0.05)


def test_plans_change_what_they_name():
    def layer(**changed):
        return planted_chain(Plan(0.5, **changed), 32, 1000)[0]

    plain = layer()
    assert len(plain.who.unique()) == 1000
    assert len(layer(copies=0.25).who.unique()) == 750
    assert float((layer(dead=0.5).sae.W_dec == 0).all(1).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert layer(lengths=1.0).sae.W_dec.norm(dim=1).log().std() > 0.8 > plain.sae.W_dec.norm(dim=1).log().std()
    assert layer(thresholds=2.0).sae.threshold.log().std() > 1.8 > plain.sae.threshold.log().std()
    assert layer(common=0.35).sae.W_dec.mean(0).norm() > 0.25 > plain.sae.W_dec.mean(0).norm()
    spread = [layer(crowding=crowding).sae.W_dec.square().mean(0) for crowding in (0.0, 0.7)]
    assert spread[1][0] / spread[1][-1] > 20
    assert spread[0][0] / spread[0][-1] < 2


def test_crowds_are_the_same_in_every_layer():
    def near(crowds):
        one, other = planted_chain(Plan(1.0, crowding=0.0, crowds=crowds), 256, 1000)
        return int((one.sae.W_dec @ other.sae.W_dec.T > 0.25).sum())

    assert near(True) > 100 * max(1, near(False))


def test_near_copies_are_near_in_every_layer():
    for layer in planted_chain(Plan(0.5, copies=0.5), 64, 400, layers=3):
        same = layer.who[:, None] == layer.who
        same.fill_diagonal_(False)
        assert float((layer.sae.W_dec @ layer.sae.W_dec.T)[same].min()) > 0.7
