"""Targets whose features are random but whose dictionary is otherwise alike: what a matching is judged against.

A plain random rotation does not do. Real dictionaries crowd in some directions, the same ones in source and target;
a rotated target no longer crowds where the source does, and chance pairs look like matches. So features are rotated
where the dictionary has no shape left: in the basis in which the second moment of its directions is white, and about
its mean. The mean and the second moment of the directions come out as they went in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.arithmetic import blocks
from sae_match.matching.baselines import rotated
from sae_match.matching.significance.settings import Null
from sae_match.matching.significance.shape import Shape
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch, quick_product

# Rows of a block: what is made of them in between stays small beside the dictionary.
_ROWS = 2048
# Below this, a mean is zero and a direction is no part of a span.
_OUTSIDE = 1e-6
# A rotation of a line is a reflection: there would be two targets, not many.
_FEWEST_DIMENSIONS = 2
# Of one feature, a random target has nothing to say.
_FEWEST_FEATURES = 2


def rotation_seeds(seed: int, rotations: int) -> tuple[int, ...]:
    """Seeds of single rotations: those of another `seed` are others, those of more rotations begin alike."""
    return tuple(int(number) for number in np.random.SeedSequence(seed).generate_state(rotations, np.uint32))


def written_and_read(sae: SAE) -> Bool[Tensor, " d_sae"]:
    """Features that have an encoder and a decoder direction: neither is zero, both are finite."""
    decoder, encoder = sae.W_dec.abs().sum(1), sae.W_enc.abs().sum(0)
    return ((decoder > 0) & (encoder > 0) & torch.isfinite(decoder) & torch.isfinite(encoder)).cpu()


@dataclass(frozen=True, eq=False)
class NullTargets:
    """Random targets that are otherwise like a given one.

    Attributes:
        saes: The target; or several, which are turned alike, so that what they have to do with one another stays.
        null: `second_moment`: every row `w` becomes `w C^{-1/2} Q C^{1/2}` and has its old length again. `C` is the
            second moment of the decoder's directions for decoder rows, of the encoder's for encoder columns; the
            random rotation `Q` is the same, and leaves all means where they are. `rotation`: one random rotation
            of everything.
        live: Features of each that have directions; the others stay as they are.

    Biases and thresholds stay with their feature. Where features span less than the whole space, `C^{-1/2}` is a
    pseudo-inverse and `Q` turns what encoders and decoders together span.
    """

    saes: tuple[SAE, ...]
    null: Null
    live: tuple[Bool[Tensor, " _"], ...]

    @plain_torch()
    def draw(self, seed: int) -> tuple[SAE, ...]:
        """A random target for each.

        Raises:
            UserError: If there is nothing that could be rotated.
        """
        if self.null == "rotation":
            return tuple(rotated(sae, seed) for sae in self.saes)
        fixed, turned = _bases(self._shapes)
        if turned.shape[1] < _FEWEST_DIMENSIONS:
            raise UserError(
                f"the features span {fixed.shape[1] + turned.shape[1]} dimensions, of which their means take "
                f"{fixed.shape[1]}: too few for a random rotation; null='rotation' turns the whole space"
            )
        rotation = _haar(turned.shape[1], torch.Generator().manual_seed(seed))
        dtype = max((shape.basis.dtype for shape in self._shapes), key=lambda dtype: dtype.itemsize)
        fixed, turned, rotation = (each.to(dtype) for each in (fixed, turned, rotation.T))
        white = quick_product(quick_product(turned, rotation.contiguous()), turned).addmm_(fixed, fixed.T)
        found = []
        for sae, encoder, decoder in zip(self.saes, self._shapes[::2], self._shapes[1::2], strict=True):
            # Left as rows of features: whoever matches them has no copy to make.
            W_enc = _turned(sae.W_enc.T, encoder.transposed_map(white)).T
            found.append(replace(sae, W_enc=W_enc, W_dec=_turned(sae.W_dec, decoder.transposed_map(white))))
        return tuple(found)

    @cached_property
    def _shapes(self) -> list[Shape]:
        """Shapes of encoder columns and decoder rows of each, one after the other."""
        for sae, live in zip(self.saes, self.live, strict=True):
            if int(live.sum()) < _FEWEST_FEATURES:
                raise UserError(
                    f"of {sae.d_sae} features {int(live.sum())} take part and have both an encoder and a decoder "
                    f"direction; random ones in their place need at least {_FEWEST_FEATURES}"
                )
        return [
            Shape.of(rows, live.nonzero().flatten())
            for sae, live in zip(self.saes, self.live, strict=True)
            for rows in (sae.W_enc.T, sae.W_dec)
        ]


def _bases(shapes: Sequence[Shape]) -> tuple[Float64[Tensor, "d kept"], Float64[Tensor, "d turned"]]:
    """Orthonormal bases, in the white space, of the means, which stay, and of the rest of the span, which is turned."""
    means = torch.stack([shape.mean for shape in shapes], dim=1)
    vectors, values, _ = torch.linalg.svd(means, full_matrices=True)
    rank = int((values > _OUTSIDE).sum())
    fixed, rest = vectors[:, :rank], vectors[:, rank:]
    if any(shape.basis.shape[1] == len(means) for shape in shapes):
        return fixed, rest
    spans = torch.stack([shape.basis @ shape.basis.T for shape in shapes]).sum(0)
    values, inside = torch.linalg.eigh(rest.T @ spans @ rest)
    return fixed, rest @ inside[:, values > _OUTSIDE]


def _haar(size: int, generator: torch.Generator) -> Float64[Tensor, "size size"]:
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    # The signs make the rotation uniform (Haar); QR alone favours some.
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


def _turned(rows: Float[Tensor, "n d"], transposed: Float[Tensor, "d d"]) -> Float[Tensor, "n d"]:
    """Every row times a matrix, as long as it was; zero rows stay zero."""
    # Random targets need no more digits than float32 has, but half precision has too few to rotate in.
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    transposed = transposed.to(device=rows.device, dtype=dtype)
    out = torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)
    for block in blocks(len(rows), _ROWS):
        before = rows[block].to(dtype).contiguous()
        # By powers of two, which change no digit: squares of very small entries would come out as zero.
        exponent = torch.frexp(before.abs().amax(1, keepdim=True)).exponent.clamp(-126, 126)
        before = torch.ldexp(before, -exponent)
        after = quick_product(before, transposed)
        lengths = after.norm(dim=1, keepdim=True)
        after *= before.norm(dim=1, keepdim=True) / torch.where(lengths > 0, lengths, 1)
        out[block] = torch.ldexp(after, exponent)
    return out
