"""What trained SAEs do on text that training did not see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.statistics.moments import (
    Activity,
    Moments,
    explained_variance,
    explained_variance_by_dimension,
)
from sae_match.evaluation.statistics.norms import EXTREME
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site
from sae_match.training.collecting.activations import refuse_not_finite, token_values
from sae_match.training.collecting.text_stream import CropStream

#: Tokens whose feature values exist at one time.
_PART = 4096


@dataclass(frozen=True)
class Fidelity:
    """How well vectors are reconstructed.

    Attributes:
        vectors: What is to be reconstructed.
        error: Reconstruction less that.
    """

    vectors: Moments
    error: Moments

    @classmethod
    def of(cls, vectors: Float[Tensor, "tokens d_in"], made: Float[Tensor, "tokens d_in"]) -> "Fidelity":
        """Of at least one vector and its reconstruction."""
        return cls(Moments.of(vectors.double()), Moments.of((made - vectors).double()))

    def __add__(self, other: "Fidelity") -> "Fidelity":
        return Fidelity(self.vectors + other.vectors, self.error + other.error)

    @property
    def explained_variance(self) -> float:
        """Share of the variance that the reconstruction has, summed over dimensions."""
        return explained_variance(self.vectors, self.error)

    @property
    def by_dimension(self) -> float:
        """The mean over dimensions that vary of each one's own explained variance."""
        return explained_variance_by_dimension(self.vectors, self.error)


@dataclass(frozen=True)
class Measured:
    """What an SAE does on tokens.

    Attributes:
        residual: How well residuals are reconstructed.
        usual: The same of tokens of usual norm, which training has seen the like of.
        normed: Residuals as the next block reads them, behind its norm; none where it has none.
        activity: How often its features were active.
        extreme: Number of tokens of extreme norm.
    """

    residual: Fidelity
    usual: Fidelity
    normed: Fidelity | None
    activity: Activity
    extreme: int

    @classmethod
    def of(
        cls,
        sae: SAE,
        x: Float[Tensor, "tokens d_in"],
        longest: float = float("inf"),
        norm: Callable[[Tensor], Tensor] | None = None,
    ) -> "Measured":
        """Measure on tokens, of which at least one is usual.

        Args:
            sae: The SAE.
            x: Raw activations.
            longest: Norm above which a token is extreme.
            norm: What the next block reads them through.
        """
        f = sae.encode(x)
        made, usual = sae.decode(f), x.norm(dim=-1) <= longest
        return cls(
            residual=Fidelity.of(x, made),
            usual=Fidelity.of(x[usual], made[usual]),
            normed=None if norm is None else Fidelity.of(norm(x), norm(made)),
            activity=Activity.of(f > 0),
            extreme=int((~usual).sum()),
        )

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(
            self.residual + other.residual,
            self.usual + other.usual,
            None if self.normed is None or other.normed is None else self.normed + other.normed,
            self.activity + other.activity,
            self.extreme + other.extreme,
        )

    @property
    def l0(self) -> float:
        """Mean number of active features on a token."""
        return self.activity.l0

    @property
    def explained_variance(self) -> float:
        """Of all tokens, summed over dimensions."""
        return self.residual.explained_variance

    @property
    def explained_variance_usual(self) -> float:
        """Of tokens of usual norm, summed over dimensions."""
        return self.usual.explained_variance

    @property
    def explained_variance_by_dimension(self) -> float:
        """Of all tokens, the mean over dimensions."""
        return self.residual.by_dimension

    @property
    def explained_variance_by_dimension_usual(self) -> float:
        """Of tokens of usual norm, the mean over dimensions."""
        return self.usual.by_dimension

    @property
    def explained_variance_normed(self) -> float:
        """Of residuals as the next block reads them; nan where it has no norm."""
        return float("nan") if self.normed is None else self.normed.explained_variance

    @property
    def largest_dimension(self) -> float:
        """Share of the variance that the dimension with the most of it has."""
        deviation = self.residual.vectors.squared_deviation
        return float(deviation.max() / deviation.sum())

    @property
    def dead(self) -> int:
        """Features that were never active."""
        return int((self.activity.active == 0).sum())

    @property
    def dead_share(self) -> float:
        """Share of the features that were never active."""
        return self.dead / len(self.activity.active)


@torch.no_grad()
def measure(
    saes: Mapping[int, SAE],
    stream: ResidualStream,
    text: CropStream,
    tokens: int,
    device: torch.device,
    watch: Callable[[int, int], None] = lambda *_: None,
    site: Site = "residual",
) -> dict[int, Measured]:
    """Measure the SAEs of several layers on the same tokens, `tokens` of them or as many as the text has.

    What norm is extreme follows from the first batch.

    Raises:
        UserError: If the text has none.
    """
    found: dict[int, Measured] = {}
    longest: list[float] = []
    seen = 0
    for batch in text:
        values = token_values(stream, batch, list(saes), site).to(device)
        longest = longest or [EXTREME * float(x.float().norm(dim=-1).median()) for x in values]
        for (layer, given), of_layer, limit in zip(saes.items(), values, longest, strict=True):
            sae = given.to(device)
            read = stream.anatomy.reading_norm(site, layer) is not None
            norm = partial(stream.as_read, site, layer) if read else None
            for x in of_layer.float().split(_PART):
                new = Measured.of(sae, x, limit, norm)
                found[layer] = found[layer] + new if layer in found else new
        seen += values.shape[1]
        watch(min(seen, tokens), tokens)
        if seen >= tokens:
            break
    if not found:
        raise UserError(no_text(text))
    return found


def held_out_values(
    stream: ResidualStream, text: CropStream, layers: Sequence[int], tokens: int, site: Site = "residual"
) -> Float[Tensor, "layers tokens d_in"]:
    """Activations of the first tokens of a text, as bfloat16: at least one, and few more than asked for.

    Raises:
        UserError: If the text has none, or activations are not finite.
    """
    parts: list[Tensor] = []
    for batch in text:
        parts.append(token_values(stream, batch, layers, site))
        refuse_not_finite(parts[-1], layers)
        if sum(part.shape[1] for part in parts) >= tokens:
            break
    if not parts:
        raise UserError(no_text(text))
    return torch.cat(parts, dim=1)[:, :tokens]


def no_text(text: CropStream) -> str:
    """What is wrong with a stream that gives nothing."""
    return (
        f"dataset {text.ended!r} has no document in its part {text.part!r}, on which trained SAEs are measured; every "
        "document goes into one of ten parts by its name, so give some dozens"
    )


def by_name(measured: Mapping[int, Measured]) -> dict[str, float]:
    """What was measured, as loggers take it."""
    explained = ("", "_usual", "_by_dimension", "_by_dimension_usual", "_normed")
    names = ("l0", *(f"explained_variance{form}" for form in explained), "dead", "extreme")
    return {
        f"held_out/{name}/{layer}": float(getattr(found, name)) for layer, found in measured.items() for name in names
    }
