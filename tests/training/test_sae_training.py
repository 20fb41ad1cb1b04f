import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from sae_match.training.crops import RandomCrops
from sae_match.training.sae_training import ActivationBatches, SAETraining, SAETrainingSettings


def planted(tokens=20_000, d_in=16, d_sae=24, active=2, scale=30.0):
    """Sparse positive combinations of known unit directions, far from the origin."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=-1)
    picked = torch.rand(tokens, d_sae, generator=generator).topk(active).indices
    values = torch.zeros(tokens, d_sae).scatter_(1, picked, torch.rand(tokens, active, generator=generator) + 0.5)
    return directions, scale * (values @ directions + 0.3)


def trained(x, **changes):
    settings = SAETrainingSettings(
        **{"d_sae": 24, "l0": [2.0], "l0_start": 2.0, "steps": 1500, "batch": 512, "learning_rate": 5e-3, **changes}
    )
    store = x[None].to(torch.bfloat16)
    module = SAETraining(settings, x.mean(0)[None], x.square().sum(-1).mean().sqrt()[None], [0])
    trainer = Trainer(
        accelerator="cpu",
        max_steps=settings.steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = ActivationBatches(store, batch=settings.batch, steps=settings.steps, seed=0)
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module


def test_planted_directions_are_found_and_the_scale_is_folded_back():
    directions, x = planted()
    sae = trained(x).saes()[0]
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(24), atol=1e-5)
    best = (directions @ sae.W_dec.T).max(dim=1).values
    assert (best > 0.9).float().mean() > 0.7
    error = sae(x) - x
    assert float(1 - error.var(0).sum() / x.var(0).sum()) > 0.8
    assert float((sae.encode(x) > 0).float().sum(1).mean()) == pytest.approx(2, rel=0.25)
    assert (sae.threshold > 0).all()


def test_going_on_from_trained_saes_starts_where_they_stand():
    _, x = planted()
    module = trained(x, steps=20)
    (before,) = module.saes()
    again = SAETraining(module.settings, x.mean(0)[None], 1.5 * module.scale.cpu(), [0])
    again.go_on_from([before])
    (after,) = again.saes()
    for name, tensor in before.tensors().items():
        assert torch.allclose(tensor, after.tensors()[name], rtol=1e-4, atol=1e-4), name


def test_silent_features_get_a_new_start():
    _, x = planted()
    module = trained(x, steps=4, resample_every=0)
    module.silent[0, [3, 5]] = 300
    kept = module.W_enc[0][:, 4].clone()
    module._resample(0, (module.silent[0] >= 300).nonzero().flatten())
    assert torch.equal(module.W_enc[0][:, 4], kept)
    assert torch.allclose(module.W_enc[0][:, [3, 5]].T, module.W_dec[0, [3, 5]])
    assert module.silent[0, [3, 5]].tolist() == [0, 0]
    state = module.optimizers().optimizer.state
    assert not state[module.W_enc]["exp_avg"][0][:, [3, 5]].any()
    assert state[module.W_enc]["exp_avg"][0][:, 4].any()


def test_the_aim_falls_over_the_first_third_and_then_stays():
    module = SAETraining(
        SAETrainingSettings(d_sae=8, steps=300, l0=[2.0], l0_start=5.0), torch.zeros(1, 4), torch.ones(1), [0]
    )
    assert [float(module.l0_aim(number)) for number in (0, 50, 100, 299)] == pytest.approx([10, 2 * 5**0.5, 2, 2])


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
