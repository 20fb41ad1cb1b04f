"""The sparse autoencoder as an immutable value: tensors, an activation, encode and decode."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from xxhash import xxh3_128

from sae_match.errors import UserError
from sae_match.tensors import hashed_parts

Activation = Literal["jumprelu", "relu", "topk"]
# Where an SAE keeps its last quick hash, with the slow one that goes with it.
_LAST_HASH = "_last_hash"


@dataclass(frozen=True, eq=False, repr=False)
class SAE:
    """A sparse autoencoder of one layer, acting on raw activations.

    Encoding is `f = act(x W_enc + b_enc)` and decoding is `x_hat = f W_dec + b_dec`. Activations:

    - `jumprelu`: a value passes where it is positive and strictly above its feature's threshold;
    - `relu`: a value passes where it is positive;
    - `topk`: of the positive values, the `k` largest of a token pass, ranked by value times
      `rank_scale`.

    Attributes:
        W_enc: Encoder, one column a feature.
        b_enc: Encoder bias.
        W_dec: Decoder, one row a feature.
        b_dec: Decoder bias, in the units of the activations.
        threshold: JumpReLU thresholds, in the units of the pre-activations; `jumprelu` only.
        activation: Which of the three rules above.
        k: Features a token keeps; `topk` only.
        rank_scale: What each value is multiplied by for the ranking, and nothing else; `topk` only.

    Raises:
        UserError: If shapes, dtypes or the activation's own parameters do not agree.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]
    threshold: Float[Tensor, " d_sae"] | None = None
    activation: Activation = "jumprelu"
    k: int | None = None
    rank_scale: Float[Tensor, " d_sae"] | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_activation(self)

    def __repr__(self) -> str:
        k = "" if self.k is None else f", k={self.k}"
        return f"SAE(d_in={self.d_in}, d_sae={self.d_sae}, activation={self.activation!r}{k}, dtype={self.W_enc.dtype})"

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature values of activations."""
        z = x @ self.W_enc + self.b_enc
        if self.threshold is not None:
            return torch.relu(z) * (z > self.threshold)
        if self.k is not None:
            return torch.relu(z) * self._in_top_k(z, self.k)
        return torch.relu(z)

    def decode(self, f: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """Activations that feature values stand for."""
        return f @ self.W_dec + self.b_dec

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """Reconstruction: `decode(encode(x))`."""
        return self.decode(self.encode(x))

    __call__ = forward

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "SAE":
        """The same SAE with its tensors on another device or of another dtype."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device=device, dtype=dtype)

        return replace(
            self,
            W_enc=self.W_enc.to(device=device, dtype=dtype),
            b_enc=self.b_enc.to(device=device, dtype=dtype),
            W_dec=self.W_dec.to(device=device, dtype=dtype),
            b_dec=self.b_dec.to(device=device, dtype=dtype),
            threshold=moved(self.threshold),
            rank_scale=moved(self.rank_scale),
        )

    def tensors(self) -> dict[str, Tensor]:
        """The parameters that this SAE has, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if isinstance(value, Tensor)}

    def content_hash(self) -> str:
        """SHA-256 of everything that determines the SAE's output: equal SAEs hash alike.

        Tensors can be edited in place, so what was found before counts only while a quicker hash of them is the same.
        """
        now = self._digest(xxh3_128())
        before, found = self.__dict__.get(_LAST_HASH, ("", ""))
        if now != before:
            found = self._digest(hashlib.sha256())
            # Both at once, as several threads may ask at a time; and only what nobody has changed meanwhile.
            if self._digest(xxh3_128()) == now:
                self.__dict__[_LAST_HASH] = now, found
        return str(found)

    def _digest(self, digest: Any) -> str:
        for part in self._hashed_parts():
            digest.update(part)
        return str(digest.hexdigest())

    def _hashed_parts(self) -> Iterator[bytes | memoryview]:
        yield f"{self.activation} k={self.k}".encode()
        for name, tensor in self.tensors().items():
            yield from hashed_parts(name, tensor)

    def _in_top_k(self, z: Float[Tensor, "*batch d_sae"], k: int) -> Int[Tensor, "*batch d_sae"]:
        rank = z if self.rank_scale is None else z * self.rank_scale
        top = rank.topk(k, dim=-1).indices
        return torch.zeros_like(z, dtype=torch.int64).scatter_(-1, top, 1)


def _check_shapes(sae: SAE) -> None:
    if sae.W_enc.ndim != 2 or 0 in sae.W_enc.shape:
        raise UserError(f"W_enc must be [d_in, d_sae] and not empty, got {list(sae.W_enc.shape)}")
    d_in, d_sae = sae.W_enc.shape
    expected = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
        "threshold": (d_sae,),
        "rank_scale": (d_sae,),
    }
    for name, tensor in sae.tensors().items():
        if tuple(tensor.shape) != expected[name]:
            raise UserError(
                f"{name} must be {list(expected[name])} to go with W_enc {[d_in, d_sae]}, got {list(tensor.shape)}"
            )
        if not tensor.is_floating_point() or tensor.dtype != sae.W_enc.dtype:
            raise UserError(f"{name} must be of W_enc's floating dtype {sae.W_enc.dtype}, got {tensor.dtype}")


def _check_activation(sae: SAE) -> None:
    if sae.activation not in get_args(Activation):
        raise UserError(f"unknown activation {sae.activation!r}; there are {', '.join(get_args(Activation))}")
    if (sae.threshold is not None) != (sae.activation == "jumprelu"):
        has = "has none" if sae.threshold is None else "has one"
        raise UserError(f"a threshold goes with activation 'jumprelu' and no other: a {sae.activation!r} SAE {has}")
    if (sae.k is not None) != (sae.activation == "topk"):
        raise UserError(f"k goes with activation 'topk' and with no other, got {sae.activation!r} and k={sae.k}")
    if sae.k is not None and sae.k < 1:
        raise UserError(f"k must be at least 1, got {sae.k}")
    if sae.k is not None and sae.k > sae.d_sae:
        raise UserError(f"k must be at most the number of features, {sae.d_sae}, got {sae.k}")
    if sae.rank_scale is not None and sae.activation != "topk":
        raise UserError(f"rank_scale goes with activation 'topk' and with no other, got {sae.activation!r}")
