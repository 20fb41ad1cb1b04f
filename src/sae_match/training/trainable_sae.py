"""One JumpReLU SAE while it is trained, on inputs of unit mean squared norm."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_match.saes.sae import SAE
from sae_match.training.jumprelu import jumprelu, step
from sae_match.training.sae_settings import SAETrainingSettings


class Pass(NamedTuple):
    """What one pass over a batch gives.

    Attributes:
        error: Reconstruction less input, scaled.
        squared_error: Its mean squared norm.
        l0: Mean number of active features.
    """

    error: Float[Tensor, "batch d_in"]
    squared_error: Float[Tensor, ""]
    l0: Float[Tensor, ""]


class TrainableSAE(nn.Module):
    """Parameters of one layer's SAE in the units of its scaled inputs.

    Args:
        settings: Width, window and the aim that training starts from.
        mean: Mean activation of the layer.
        scale: Root mean squared norm of the layer's activations; inputs are divided by it.
        l0: Number of active features that training aims at in the end.
        seed: Of the initialisation.
    """

    def __init__(
        self,
        settings: SAETrainingSettings,
        mean: Float[Tensor, " d_in"],
        scale: Float[Tensor, ""],
        l0: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.bandwidth = settings.bandwidth
        centre = mean / scale
        self.register_buffer("scale", scale.clone())
        self.scale: Tensor
        self.register_buffer("variance", 1 - centre.square().sum())
        self.variance: Tensor
        rows = _unit_rows(settings.d_sae, len(mean), seed)
        spread = (self.variance.clamp_min(1e-3) / len(mean)).sqrt()
        active = torch.tensor(min(settings.l0_start * l0 / settings.d_sae, 0.4))
        start = spread * torch.distributions.Normal(0.0, 1.0).icdf(1 - active)
        self.W_enc = nn.Parameter(rows.T.clone())
        self.b_enc = nn.Parameter(-rows @ centre)
        self.W_dec = nn.Parameter(rows)
        self.b_dec = nn.Parameter(centre.clone())
        self.log_threshold = nn.Parameter(start.log().repeat(settings.d_sae))
        self.register_buffer("silent", torch.zeros(settings.d_sae, dtype=torch.int32))
        self.silent: Tensor

    def forward(self, x: Float[Tensor, "batch d_in"]) -> Pass:
        """Reconstruct raw activations, and count for how many batches each feature has been silent."""
        x = x / self.scale
        threshold = self.log_threshold.exp()
        z = torch.addmm(self.b_enc, x, self.W_enc)
        f = jumprelu(z, threshold, self.bandwidth)
        error = torch.addmm(self.b_dec, f, self.W_dec) - x
        l0 = step(z, threshold, self.bandwidth).sum(-1).mean()
        self.silent = torch.where((f > 0).any(0), 0, self.silent + 1)
        return Pass(error, error.square().sum(-1).mean(), l0)

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring decoder rows to unit norm."""
        self.W_dec.div_(self.W_dec.norm(dim=-1, keepdim=True))

    @torch.no_grad()
    def renew(
        self,
        features: Int[Tensor, " renewed"],
        error: Float[Tensor, "batch d_in"],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        """Point features at what was missing in the worst reconstructed activations, and forget their momentum."""
        if len(features) == 0:
            return
        missing = -error
        # Drawn on the CPU, so that every device gives the same features a new start.
        weights = missing.square().sum(-1).cpu()
        picked = torch.multinomial(weights, len(features), replacement=True, generator=generator).to(error.device)
        direction = torch.nn.functional.normalize(missing[picked], dim=-1)
        self.W_dec[features] = direction
        self.W_enc[:, features] = direction.T
        self.b_enc[features] = -direction @ self.b_dec
        self.log_threshold[features] = self.log_threshold.median()
        self.silent[features] = 0
        for parameter, index in (
            (self.W_dec, features),
            (self.W_enc, (slice(None), features)),
            (self.b_enc, features),
            (self.log_threshold, features),
        ):
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][moment][index] = 0

    @torch.no_grad()
    def take_over(self, sae: SAE) -> None:
        """Go on from the parameters of a trained SAE."""
        for own, given in (
            (self.W_enc, sae.W_enc),
            (self.b_enc, sae.b_enc / self.scale.cpu()),
            (self.W_dec, sae.W_dec),
            (self.b_dec, sae.b_dec / self.scale.cpu()),
            (self.log_threshold, (sae.tensors()["threshold"] / self.scale.cpu()).log()),
        ):
            own.copy_(given)

    @torch.no_grad()
    def exported(self) -> SAE:
        """The SAE as it acts on raw activations, in float32 on the CPU: biases and thresholds take the scale."""

        def settled(part: Tensor) -> Tensor:
            return part.detach().float().cpu().clone()

        return SAE(
            W_enc=settled(self.W_enc),
            b_enc=settled(self.b_enc * self.scale),
            W_dec=settled(self.W_dec),
            b_dec=settled(self.b_dec * self.scale),
            threshold=settled(self.log_threshold.exp() * self.scale),
        )


def _unit_rows(d_sae: int, d_in: int, seed: int) -> Float[Tensor, "d_sae d_in"]:
    rows = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)
