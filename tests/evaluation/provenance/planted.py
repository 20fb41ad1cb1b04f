"""A hand-made residual network whose one layer copies, changes or makes features, and SAEs that know them."""

import torch

from sae_match import SAE

COPIED, CHANGED, MADE_BY_MLP, MADE_BY_ATTENTION, NOWHERE = range(5)
OF_EACH = 40


def unit(rows):
    return torch.nn.functional.normalize(rows, dim=1)


def as_sae(rows):
    """An SAE that reads as it writes."""
    m, d = rows.shape
    return SAE(rows.T.contiguous(), torch.zeros(m), rows, torch.zeros(d), activation="relu")


def planted(seed=0, d=96):
    """Decoder rows of the residual SAE after a layer, what each is, and rows of the stream before, MLP and attention.

    Rows crowd: all are drawn with the same uneven spread.
    """
    generator = torch.Generator().manual_seed(seed)
    spread = torch.arange(1, d + 1).float() ** -0.35

    def drawn(number):
        return unit(torch.randn(number, d, generator=generator) * spread)

    def near(rows, mix):
        return unit(rows + mix * drawn(len(rows)))

    before, mlp, attention = drawn(2 * OF_EACH + 60), drawn(2 * OF_EACH + 60), drawn(OF_EACH + 60)
    copied, changed = before[:OF_EACH], before[OF_EACH : 2 * OF_EACH]
    rows = [
        near(copied, 0.3),
        # Half of what was there, half of what the MLP adds.
        near(unit(changed + mlp[:OF_EACH]), 0.1),
        near(mlp[OF_EACH : 2 * OF_EACH], 0.3),
        near(attention[:OF_EACH], 0.3),
        drawn(OF_EACH),
    ]
    kinds = torch.arange(len(rows)).repeat_interleave(OF_EACH)
    return torch.cat(rows), kinds, {"residual": before, "mlp": mlp, "attention": attention}
