"""Tensors as a file holds them -> an `SAE` on raw activations: whatever happens to the input is folded in."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sae_match.errors import UserError
from sae_match.saes.sae import SAE, Activation, CrosscoderView, InputNorm, Transcoder

# Columns of W_enc, and rows of W_dec, that are held in double precision at a time.
_COLUMNS = _ROWS = 8192


def build(
    file: Path,
    *,
    W_enc: Tensor,
    b_enc: Tensor,
    W_dec: Tensor,
    b_dec: Tensor,
    threshold: Tensor | None = None,
    activation: Activation = "jumprelu",
    k: int | None = None,
    input_norm: InputNorm = "none",
    transcoder: bool = False,
    W_skip: Tensor | None = None,
    crosscoder: bool = False,
) -> SAE:
    """An SAE of tensors as they were read, whose shapes are not known to be right yet.

    Args:
        file: Where they come from.
        W_enc: `[d_in, d_sae]`; half precision becomes float32, as the others do.
        b_enc: `[d_sae]`.
        W_dec: `[d_sae, d_in]`.
        b_dec: `[d_in]`.
        threshold: `[d_sae]`, or one number for all features; `jumprelu` only.
        activation: As in `SAE`.
        k: As in `SAE`.
        input_norm: As in `SAE`.
        transcoder: Whether it writes another place than it reads.
        W_skip: `[d_in, d_in]`, of a transcoder that has such a map beside its features.
        crosscoder: Whether it is one layer of a crosscoder.

    Raises:
        UserError: If shapes or dtypes do not agree, a matrix is transposed, or an entry is not finite.
    """
    if threshold is not None and threshold.numel() == 1:
        threshold = threshold.reshape(1).expand(b_enc.shape)
    given = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "threshold": threshold, "W_skip": W_skip}
    tensors = {name: _sound(file, name, tensor) for name, tensor in given.items() if tensor is not None}
    _refuse_transposed(file, tensors)
    of: type[SAE] = Transcoder if transcoder else CrosscoderView if crosscoder else SAE
    try:
        return of(**tensors, activation=activation, k=k, input_norm=input_norm)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def build_gated(
    file: Path, *, W_enc: Tensor, b_gate: Tensor, r_mag: Tensor, b_mag: Tensor, W_dec: Tensor, b_dec: Tensor
) -> SAE:
    """A gated SAE, exactly, as a JumpReLU SAE.

    With `y = x W_enc`, a gated feature is `relu(z)`, `z = exp(r_mag) y + b_mag`, where `y + b_gate > 0`,
    which is where `z > b_mag - exp(r_mag) b_gate`.

    Raises:
        UserError: As `build`.
    """
    vectors = {"b_gate": b_gate, "r_mag": r_mag, "b_mag": b_mag}
    for name, vector in vectors.items():
        if vector.shape != W_enc.shape[1:]:
            raise UserError(
                f"{file}: {name} must be {list(W_enc.shape[1:])} to go with W_enc {list(W_enc.shape)}, "
                f"got {list(vector.shape)}"
            )
    W_enc, b_gate, r_mag, b_mag = (_sound(file, name, tensor) for name, tensor in {"W_enc": W_enc, **vectors}.items())
    slope = r_mag.exp()
    return build(file, W_enc=W_enc * slope, b_enc=b_mag, W_dec=W_dec, b_dec=b_dec, threshold=b_mag - slope * b_gate)


def refuse_contradiction(config: Path, sae: SAE, **said: int | None) -> None:
    """Check that tensors have the sizes (`d_in`, `d_sae`) that a config says.

    Raises:
        UserError: If they have not.
    """
    for name, value in said.items():
        found = getattr(sae, name)
        if value is not None and value != found:
            raise UserError(f"{config}: {name} is {value} there, but the tensors beside it have {found}")


def refuse_overflow(source: str, sae: SAE) -> None:
    """Check that what happens to the input has taken no parameter out of range when it was folded in.

    Raises:
        UserError: If it has.
    """
    for name, tensor in sae.tensors().items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"the SAE in {source} cannot be expressed on raw activations: {name} leaves the range of {tensor.dtype}"
            )


def on_shifted_input(sae: SAE) -> SAE:
    """The SAE that reads `x` where the given one reads `x - b_dec`."""
    return replace(sae, b_enc=(sae.b_enc.double() - _encoded(sae, sae.b_dec)).to(sae.b_enc.dtype))


def on_centred_input(sae: SAE) -> SAE:
    """The SAE that reads `x` where the given one reads `x` less the mean of its components.

    Its reconstruction is that of the centred activation: what the mean was is not known from the features.
    """
    return replace(sae, W_enc=sae.W_enc - sae.W_enc.mean(dim=0))


def on_scaled_input(sae: SAE, scale_in: float, scale_out: float | None = None) -> SAE:
    """The SAE that reads `x` where the given one reads `scale_in * x`, features as they were.

    Args:
        sae: Left untouched.
        scale_in: What the activations are multiplied by.
        scale_out: What the reconstruction has to be divided by; by default the same.
    """
    back = scale_in if scale_out is None else scale_out
    return replace(sae, W_enc=sae.W_enc * scale_in, W_dec=sae.W_dec / back, b_dec=sae.b_dec / back)


def in_units_of_decoder_norm(sae: SAE) -> SAE:
    """The SAE whose features are multiplied by their decoder norms before the activation decides.

    `W_enc' = W_enc n`, `b_enc' = b_enc n`, `W_dec' = W_dec / n`; thresholds and `k` apply to the products.
    """
    # In double precision, in which no row of numbers that a file holds has a norm out of range.
    norms = torch.cat([part.double().norm(dim=1) for part in sae.W_dec.split(_ROWS)])
    # A feature that decodes to nothing is never active.
    divisors = torch.where(norms > 0, norms, 1.0)[:, None].split(_ROWS)
    parts = zip(sae.W_dec.split(_ROWS), divisors, strict=True)
    W_dec = torch.cat([(part.double() / divisor).to(sae.W_dec.dtype) for part, divisor in parts])
    n = norms.to(sae.W_enc.dtype)
    return replace(sae, W_enc=sae.W_enc * n, b_enc=sae.b_enc * n, W_dec=W_dec)


def _encoded(sae: SAE, x: Tensor) -> Tensor:
    """`x W_enc` in double precision, for the difference of two large numbers that a bias may be."""
    return torch.cat([x.double() @ part.double() for part in sae.W_enc.split(_COLUMNS, dim=1)])


def _sound(file: Path, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise UserError(f"{file}: {name} must hold floating-point numbers, got {tensor.dtype}")
    if tensor.dtype != torch.float64:
        tensor = tensor.float()
    finite = torch.isfinite(tensor)
    if not finite.all():
        raise UserError(f"{file}: {name} has {int((~finite).sum())} entries that are not finite")
    return tensor.contiguous()


def _refuse_transposed(file: Path, tensors: dict[str, Tensor]) -> None:
    expected = {
        "W_enc": (*tensors["b_dec"].shape, *tensors["b_enc"].shape),
        "W_dec": (*tensors["b_enc"].shape, *tensors["b_dec"].shape),
    }
    for name, shape in expected.items():
        found = tuple(tensors[name].shape)
        if found != shape and found[::-1] == shape:
            raise UserError(f"{file}: {name} is transposed: it must be {list(shape)}, got {list(found)}")
