"""A dictionary turned into the coordinates of another language model, by maps fitted on text."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.evaluation.fitting import LeastSquares, LinearMap
from sae_match.saes.sae import SAE


@dataclass(frozen=True)
class MapBothWays:
    """Affine maps between the residuals of two layers.

    Attributes:
        there: From the source's to the target's, which decoder rows follow.
        back: From the target's to the source's, which encoders read through. Of an orthogonal map it is the inverse,
            and a turned dictionary says of `there(x)` exactly what it said of `x`.
    """

    there: LinearMap
    back: LinearMap

    @classmethod
    def orthogonal(cls, there: LinearMap) -> "MapBothWays":
        """A map that turns and shifts, with its inverse."""
        return cls(there, LinearMap(there.weight.T, -there.bias @ there.weight.T))

    @classmethod
    def of(cls, there: LeastSquares, back: LeastSquares | None = None) -> "MapBothWays":
        """The orthogonal map of least squared error.

        Args:
            there: Over tokens of the source's residuals and the target's.
            back: Where widths are unlike, so that no orthogonal map exists, the same sums the other way: then the map
                is that of least squared error each way, and none is the other's inverse.
        """
        return cls.orthogonal(rotation_of(there)) if back is None else cls(there.solution(), back.solution())

    def turned(self, sae: SAE) -> SAE:
        """A source SAE whose directions are those of the target's residuals."""
        there, back = self.there, self.back
        # In float64: what is matched afterwards is to differ by the directions, not by rounding.
        W_enc, W_dec = sae.W_enc.double(), sae.W_dec.double()
        to, by = there.weight.double().to(W_enc.device), back.weight.double().to(W_enc.device)
        shift, offset = there.bias.double().to(W_enc.device), back.bias.double().to(W_enc.device)
        return replace(
            sae,
            W_enc=(by @ W_enc).to(sae.W_enc.dtype),
            b_enc=(sae.b_enc.double() + offset @ W_enc).to(sae.b_enc.dtype),
            W_dec=(W_dec @ to).to(sae.W_dec.dtype),
            b_dec=(sae.b_dec.double() @ to + shift).to(sae.b_dec.dtype),
        )


def rotation_of(sums: LeastSquares) -> LinearMap:
    """The orthogonal map, with a shift, of least squared error: turn about the means.

    Args:
        sums: Over tokens of two residuals of one width.

    Raises:
        UserError: If there are fewer tokens than dimensions.
    """
    x_mean, y_mean, _, cross = sums.moments()
    weight = _nearest_orthogonal(cross)
    bias = y_mean - x_mean @ weight
    return LinearMap(weight.float(), bias.float())


def _nearest_orthogonal(cross: Float64[Tensor, "d_in d_in"]) -> Float64[Tensor, "d_in d_in"]:
    """The orthogonal matrix `Q` with the largest `tr(Qᵀ C)`."""
    left, _, right = torch.linalg.svd(cross)
    nearest: Tensor = left @ right
    return nearest
