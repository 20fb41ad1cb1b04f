"""The sparse autoencoder as an immutable value: tensors, an activation, encode and decode."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from xxhash import xxh3_128

from sae_match.errors import UserError
from sae_match.tensors import hashed_parts

OfKind = TypeVar("OfKind", bound="SAE")
Activation = Literal["jumprelu", "relu", "topk"]
InputNorm = Literal["none", "layer_norm", "constant_norm"]
_BESIDE_DEVIATION = 1e-5
#: Why transcoders are not evaluated.
TRANSCODING = "it is a transcoder: what it decodes is written elsewhere than where it reads, and stands in for nothing"
# Where an SAE keeps its last quick hash, with the slow one that goes with it.
_LAST_HASH = "_last_hash"
#: Why views of crosscoders are not.
CROSSCODING = "it is one layer of a crosscoder, whose features read several layers at once"


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
        input_norm: What each token's activation goes through before the encoder, by numbers of its own that no
            weight can stand for: `layer_norm` subtracts its mean and divides by its standard deviation,
            `constant_norm` scales it to a norm of `sqrt(d_in)`. `forward` takes it back; `decode` cannot, so such an
            SAE can be matched and not evaluated.

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
    input_norm: InputNorm = "none"

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

    @property
    def unmeasurable(self) -> str | None:
        """Why it can be matched and nothing can be measured of it on text; none where that can be."""
        return None if self.input_norm == "none" else normalising(self.input_norm)

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature values of activations."""
        x, _, _ = self._normalised(x)
        z = x @ self.W_enc + self.b_enc
        if self.threshold is not None:
            return torch.relu(z) * (z > self.threshold)
        if self.k is not None:
            return torch.relu(z) * self._in_top_k(z, self.k)
        return torch.relu(z)

    def decode(self, f: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """Activations that feature values stand for; normalised ones where `input_norm` says so."""
        return f @ self.W_dec + self.b_dec

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """Reconstruction: `decode(encode(x))`, in the units of `x`."""
        _, mean, scale = self._normalised(x)
        return self.decode(self.encode(x)) * scale + mean

    __call__ = forward

    def to(self: OfKind, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> OfKind:
        """The same SAE with its tensors on another device or of another dtype."""
        moved: dict[str, Any] = {name: one.to(device=device, dtype=dtype) for name, one in self.tensors().items()}
        return replace(self, **moved)

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
        normalised = "" if self.input_norm == "none" else f" {self.input_norm}"
        yield f"{self.activation} k={self.k}{normalised}".encode()
        for name, tensor in self.tensors().items():
            yield from hashed_parts(name, tensor)

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Activations as the encoder reads them, and what makes them what they were: a mean and a factor."""
        if self.input_norm == "none":
            return x, 0.0, 1.0
        if self.input_norm == "layer_norm":
            mean = x.mean(dim=-1, keepdim=True)
            # As SAELens trained them: the sample's deviation, with a small number beside it on the way in only.
            scale = (x - mean).std(dim=-1, keepdim=True)
            return (x - mean) / (scale + _BESIDE_DEVIATION), mean, scale
        scale = x.norm(dim=-1, keepdim=True) / math.sqrt(self.d_in)
        return x / scale, 0.0, scale

    def _in_top_k(self, z: Float[Tensor, "*batch d_sae"], k: int) -> Int[Tensor, "*batch d_sae"]:
        rank = z if self.rank_scale is None else z * self.rank_scale
        top = rank.topk(k, dim=-1).indices
        return torch.zeros_like(z, dtype=torch.int64).scatter_(-1, top, 1)


@dataclass(frozen=True, eq=False, repr=False)
class Transcoder(SAE):
    """A dictionary that reads one place of a layer and writes another: what an MLP reads, and what it gives.

    It is matched as an SAE is, by its encoder, its decoder or both. What it decodes is no stand-in for what it read, so
    it is not evaluated as an SAE.

    Attributes:
        W_skip: A linear map from what is read to what is written, beside the features; none where there is none.
    """

    W_skip: Float[Tensor, "d_in d_in"] | None = None

    @property
    def unmeasurable(self) -> str:
        """Why it can be matched and nothing can be measured of it on text."""
        return TRANSCODING

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """What is written where `x` is read: `decode(encode(x))`, and `x W_skip` where there is such a map."""
        written = self.decode(self.encode(x))
        return written if self.W_skip is None else written + x @ self.W_skip

    __call__ = forward


@dataclass(frozen=True, eq=False, repr=False)
class CrosscoderView(SAE):
    """What a crosscoder is at one of its layers: what of its encoder reads it and of its decoder writes it.

    Feature `i` at one layer is feature `i` at another. Its value is a sum over all layers, of which `encode` has one.
    """

    @property
    def unmeasurable(self) -> str:
        """Why it can be matched and nothing can be measured of it on text."""
        return CROSSCODING


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
        "W_skip": (d_in, d_in),
    }
    for name, tensor in sae.tensors().items():
        if tuple(tensor.shape) != expected[name]:
            raise UserError(
                f"{name} must be {list(expected[name])} to go with W_enc {[d_in, d_sae]}, got {list(tensor.shape)}"
            )
        if not tensor.is_floating_point() or tensor.dtype != sae.W_enc.dtype:
            raise UserError(f"{name} must be of W_enc's floating dtype {sae.W_enc.dtype}, got {tensor.dtype}")


def _check_activation(sae: SAE) -> None:
    if sae.input_norm not in get_args(InputNorm):
        raise UserError(f"unknown input_norm {sae.input_norm!r}; there are {', '.join(get_args(InputNorm))}")
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


def normalising(norm: str) -> str:
    """Why SAEs with an `input_norm` are not evaluated."""
    return f"it normalises every token by numbers of that token ({norm}), which its features do not carry to a decoder"
