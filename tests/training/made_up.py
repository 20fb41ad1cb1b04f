"""Activations whose features are known, and SAEs of them."""

import torch

from sae_match import SAE
from sae_match.training.input_scaling import InputScaling
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.sae_training import SAETraining


def planted(tokens=20_000, d_in=16, d_sae=24, active=2, scale=30.0):
    """Sparse positive combinations of known unit directions, far from the origin."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=-1)
    picked = torch.rand(tokens, d_sae, generator=generator).topk(active).indices
    values = torch.zeros(tokens, d_sae).scatter_(1, picked, torch.rand(tokens, active, generator=generator) + 0.5)
    return directions, scale * (values @ directions + 0.3)


class Draws:
    """Batches of the same activations for every layer, without a language model."""

    def __init__(self, x, layers, batch, steps):
        self.x, self.layers, self.batch, self.steps = x, layers, batch, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.steps):
            yield self.x[torch.randint(len(self.x), (self.batch,), generator=generator)].expand(self.layers, -1, -1)


def untrained(x, held_out=None, **changes):
    given = {
        "layers": [0],
        "d_sae": 24,
        "l0": [2.0],
        "l0_start": 2.0,
        "steps": 1500,
        "batch": 512,
        "learning_rate": 5e-3,
        **changes,
    }
    layers = len(given["layers"])
    module = SAETraining(SAETrainingSettings(**given), [InputScaling.of(x, 0)] * layers, held_out)
    module.start([x[:512]] * layers)
    return module


def doubling():
    """Two of three features look at a dimension each and give it back when it is above one half."""
    W = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return SAE(W, torch.zeros(3), W.T.contiguous(), torch.zeros(2), torch.full((3,), 0.5))


X = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.25, 1.0], [0.0, 0.0]])
