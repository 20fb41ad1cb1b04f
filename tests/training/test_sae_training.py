import pytest
import torch
from lightning import Trainer

from sae_match.training.collecting.crops import RandomCrops
from sae_match.training.input_scaling import InputScaling
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.sae_training import SAETraining
from tests.training.made_up import Draws, planted, untrained


def fit(module, x):
    settings = module.settings
    trainer = Trainer(
        accelerator="cpu",
        max_steps=settings.steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, Draws(x, len(settings.layers), settings.batch, settings.steps))
    return trainer


def test_planted_directions_are_found_and_the_scale_is_folded_back():
    directions, x = planted()
    module = untrained(x)
    trainer = fit(module, x)
    (sae,) = module.exported()
    best = (directions @ sae.W_dec.T).max(dim=1).values
    assert (best > 0.9).float().mean() > 0.7
    error = sae(x) - x
    explained = float(1 - error.var(0).sum() / x.var(0).sum())
    l0 = float((sae.encode(x) > 0).float().sum(1).mean())
    assert explained > 0.8
    assert l0 == pytest.approx(2, rel=0.25)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert set(logged) == {"l0/0", "explained_variance/0", "dead/0"}
    assert logged["explained_variance/0"] == pytest.approx(explained, abs=0.05)
    assert logged["l0/0"] == pytest.approx(l0, rel=0.1)


def test_a_layer_is_trained_as_if_it_were_alone():
    _, x = planted(tokens=2000)
    changes = {"steps": 30, "batch": 64, "resample_every": 5}
    both = untrained(x, layers=[3, 4], l0=[2.0, 3.0], **changes)
    alone = untrained(x, layers=[4], l0=[3.0], **changes)
    fit(both, x)
    fit(alone, x)
    assert torch.equal(both.exported()[1].W_dec, alone.exported()[0].W_dec)
    assert not torch.equal(both.exported()[0].W_dec, alone.exported()[0].W_dec)


def test_silent_features_are_renewed_in_the_first_half_only():
    _, x = planted(tokens=2000)
    module = untrained(x, steps=20, batch=64, resample_every=4)
    renewed = []
    (sae,) = module.saes
    sae.renew = lambda features, *_: renewed.append((module.global_step, features.tolist()))
    sae.log_threshold.data[7] = 20.0
    fit(module, x)
    assert renewed == [(4, [7]), (8, [7])]


def test_the_aim_falls_over_the_first_third_and_then_stays():
    module = SAETraining(
        SAETrainingSettings(layers=[0], d_sae=8, steps=300, l0=[2.0], l0_start=5.0), [InputScaling.blank(4)]
    )
    assert [module.l0_aims(number)[0] for number in (0, 50, 100, 299)] == pytest.approx([10, 2 * 5**0.5, 2, 2])


def test_crops_begin_with_bos_repeat_with_their_seed_and_share_a_batch_evenly():
    corpora = {"a": torch.arange(100, 200), "b": torch.arange(200, 300)}
    crops = RandomCrops(corpora, context=8, batch=6, steps=3, bos=2, seed=0)
    first, again = list(crops), list(crops)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for batch in first:
        assert batch.shape == (6, 8)
        assert (batch[:, 0] == 2).all()
        assert (batch[:3, 1:] < 200).all()
        assert (batch[3:, 1:] >= 200).all()
        assert (batch[:, 2:] - batch[:, 1:-1] == 1).all()
