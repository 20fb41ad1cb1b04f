"""One JumpReLU SAE while it is trained, on inputs of mean zero and unit mean squared norm."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_match.saes.sae import SAE
from sae_match.training.input_scaling import InputScaling
from sae_match.training.jumprelu import jumprelu, step
from sae_match.training.sae_settings import SAETrainingSettings

#: How much of the running deviation of pre-activations each batch renews.
_RENEWAL = 0.01
#: Features whose pre-activations on the sample exist at one time.
_FEATURES = 2048
#: Least threshold of a feature, in units of the deviation of its pre-activation.
_LEAST_THRESHOLD = 0.05
#: Most features that start anew at one time, as a share of all.
_MOST_RENEWED = 0.02


class Pass(NamedTuple):
    """What one pass over a batch gives.

    Attributes:
        x: The scaled inputs.
        error: Reconstruction less input, scaled.
        squared_error: Its mean squared norm; the inputs' is one.
        l0: Mean number of active features.
    """

    x: Float[Tensor, "batch d_in"]
    error: Float[Tensor, "batch d_in"]
    squared_error: Float[Tensor, ""]
    l0: Float[Tensor, ""]


class TrainableSAE(nn.Module):
    """Parameters of one layer's SAE in the units of its scaled inputs.

    Args:
        settings: Width, window and the aim that training starts from.
        scaling: What its inputs go through.
        l0: Number of active features that training aims at in the end.
        seed: Of the initialisation.
    """

    def __init__(self, settings: SAETrainingSettings, scaling: InputScaling, l0: float, seed: int) -> None:
        super().__init__()
        self.bandwidth, self.l0, self.l0_start = settings.bandwidth, l0, settings.l0_start
        self.register_buffer("mean", scaling.mean.clone())
        self.mean: Tensor
        self.register_buffer("factor", scaling.factor.clone())
        self.factor: Tensor
        self.register_buffer("longest", torch.tensor(scaling.longest, dtype=torch.float32))
        self.longest: Tensor
        rows = _unit_rows(settings.d_sae, len(scaling.mean), seed)
        self.W_enc = nn.Parameter(rows.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(settings.d_sae, dtype=torch.float32))
        self.W_dec = nn.Parameter(rows)
        self.b_dec = nn.Parameter(torch.zeros(len(scaling.mean), dtype=torch.float32))
        self.log_threshold = nn.Parameter(torch.zeros(settings.d_sae, dtype=torch.float32))
        self.register_buffer("spread", torch.ones(settings.d_sae, dtype=torch.float32))
        self.spread: Tensor
        self.register_buffer("silent", torch.zeros(settings.d_sae, dtype=torch.int32))
        self.silent: Tensor

    def scaled(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        """Raw activations as they go in."""
        return (x - self.mean) * self.factor

    def forward(self, x: Float[Tensor, "batch d_in"]) -> Pass:
        """Reconstruct raw activations, and count for how many batches each feature has been silent."""
        x = self.scaled(x)
        threshold = self.log_threshold.exp()
        z = torch.addmm(self.b_enc, x, self.W_enc).float()
        if self.training:
            self.spread.lerp_(z.detach().std(0), _RENEWAL)
        window = self.bandwidth * self.spread
        f = jumprelu(z, threshold, window)
        error = torch.addmm(self.b_dec, f, self.W_dec).float() - x
        l0 = step(z, threshold, window).sum(-1).mean()
        if self.training:
            self.silent = torch.where((f > 0).any(0), 0, self.silent + 1)
        return Pass(x, error, error.square().sum(-1).mean(), l0)

    @torch.no_grad()
    def start(self, sample: Float[Tensor, "tokens d_in"], *, thresholds: bool = True) -> None:
        """Measure how far pre-activations spread on raw activations, and set thresholds by their quantiles.

        Every feature is then active on the share of tokens that the first aim asks for.

        Args:
            sample: Usual tokens' activations.
            thresholds: Whether thresholds are set; those of a trained SAE stay.
        """
        x = self.scaled(sample)
        active = max(1, round(len(x) * min(self.l0_start * self.l0 / len(self.b_enc), 0.4)))
        for features in torch.arange(len(self.b_enc), device=x.device).split(_FEATURES):
            z = torch.addmm(self.b_enc[features], x, self.W_enc[:, features])
            self.spread[features] = z.std(0)
            if thresholds:
                least = _LEAST_THRESHOLD * self.spread[features]
                self.log_threshold[features] = torch.maximum(z.topk(active, dim=0).values[-1], least).log()

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring decoder rows to unit norm."""
        self.W_dec.div_(self.W_dec.norm(dim=-1, keepdim=True))

    @torch.no_grad()
    def renew(
        self,
        silent: Int[Tensor, " silent"],
        found: Pass,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> Int[Tensor, " renewed"]:
        """Give a few silent features a new start where reconstruction is worst, such that it does not get worse.

        Each points at what was missing in an activation, is active on as many tokens of the batch as the aim
        asks of a feature, and is scaled so that what it adds there is, by least squares, what was missing.
        Its momentum is forgotten.

        Args:
            silent: Features that may start anew.
            found: The last pass.
            optimizer: Has moments of this SAE's parameters.
            generator: Draws which features and which activations.

        Returns:
            The features that started anew.
        """
        most = max(1, int(_MOST_RENEWED * len(self.b_enc)))
        # Drawn on the CPU, so that every device gives the same features a new start.
        features = silent[torch.randperm(len(silent), generator=generator)[:most].to(silent.device)]
        if len(features) == 0:
            return features
        with torch.autocast(features.device.type, enabled=False):
            return self._renew(features, found, optimizer, generator)

    def _renew(
        self, features: Tensor, found: Pass, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> Tensor:
        x, missing = found.x.detach(), -found.error.detach()
        weights = missing.square().sum(-1).cpu()
        picked = torch.multinomial(weights, len(features), replacement=True, generator=generator).to(x.device)
        direction = torch.nn.functional.normalize(missing[picked], dim=-1)
        z = (x - self.b_dec) @ direction.T
        active = max(2, round(len(x) * self.l0 / len(self.b_enc)))
        threshold = z.topk(min(active, len(x)), dim=0).values[-1]
        f = z * (z > threshold)
        size = ((missing @ direction.T) * f).sum(0) / f.square().sum(0)
        good = (threshold > 0) & (size > 0) & torch.isfinite(size)
        features, direction, threshold, size = features[good], direction[good], threshold[good], size[good]
        self.W_dec[features] = direction
        self.W_enc[:, features] = (size[:, None] * direction).T
        self.b_enc[features] = -size * (direction @ self.b_dec)
        self.log_threshold[features] = (size * threshold).log()
        self.spread[features] = size * z.std(0)[good]
        self.silent[features] = 0
        self._forget(features, optimizer)
        return features

    def _forget(self, features: Tensor, optimizer: torch.optim.Optimizer) -> None:
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
        mean, factor = self.mean.cpu().double(), self.factor.cpu().double()
        W_enc, W_dec = sae.W_enc.double(), sae.W_dec.double() * factor
        norms = W_dec.norm(dim=-1)
        for own, given in (
            (self.W_enc, W_enc / factor[:, None] * norms),
            (self.b_enc, (sae.b_enc + mean @ W_enc) * norms),
            (self.W_dec, W_dec / norms[:, None]),
            (self.b_dec, (sae.b_dec - mean) * factor),
            (self.log_threshold, (sae.tensors()["threshold"] * norms).log()),
        ):
            own.copy_(given)

    @torch.no_grad()
    def exported(self) -> SAE:
        """The SAE as it acts on raw activations, in float32 on the CPU, decoder rows of unit norm.

        Weights, biases and thresholds take the scaling, which changes nothing in what the SAE does.
        """
        W_enc, b_enc, W_dec, b_dec, log_threshold, mean, factor = (
            part.detach().double().cpu()
            for part in (
                self.W_enc,
                self.b_enc,
                self.W_dec,
                self.b_dec,
                self.log_threshold,
                self.mean,
                self.factor,
            )
        )
        W_enc, W_dec = W_enc * factor[:, None], W_dec / factor
        norms = W_dec.norm(dim=-1)
        return SAE(
            W_enc=(W_enc * norms).float(),
            b_enc=((b_enc - mean @ W_enc) * norms).float(),
            W_dec=(W_dec / norms[:, None]).float(),
            b_dec=(mean + b_dec / factor).float(),
            threshold=(log_threshold.exp() * norms).float(),
        )


def _unit_rows(d_sae: int, d_in: int, seed: int) -> Float[Tensor, "d_sae d_in"]:
    rows = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return torch.nn.functional.normalize(rows, dim=-1)
