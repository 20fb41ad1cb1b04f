"""Folding: rescale every feature without changing what the SAE computes (Eq. 4)."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_match.errors import UserError
from sae_match.saes.sae import SAE
from sae_match.saes.settings import Fold, refuse_unknown_fold

__all__ = [
    "Fold",
    "fold_decoder_norm",
    "fold_scale",
    "fold_threshold",
    "folding_scale",
    "harmless_where_not",
    "live_features",
    "natural_fold",
]

# Features that an error names.
_SHOWN = 12
# One dead feature must not stop a layer.
_WAYS_ON = (
    "; leave such features out with matcher.mask=dead, or match without folding with matcher.fold=none "
    "(in Python: source_mask=… and target_mask=…, or fold='none')"
)


def fold_scale(sae: SAE, scale: Float[Tensor, " d_sae"]) -> SAE:
    """Divide every feature's value by its scale; reconstructions stay what they were.

    `W_enc' = W_enc / s`, `b_enc' = b_enc / s`, `W_dec' = W_dec * s`, `threshold' = threshold / s`.

    Args:
        sae: Left untouched.
        scale: Positive and finite, one entry a feature.

    Returns:
        A new SAE whose `encode` gives `sae.encode(x) / scale`.

    Raises:
        UserError: If an entry of `scale` is not positive and finite, or so extreme that folded
            parameters leave the range of their dtype.
    """
    _refuse_bad_scale(scale, "scale")
    rank_scale = None
    if sae.activation == "topk":
        rank_scale = scale if sae.rank_scale is None else sae.rank_scale * scale
    folded = replace(
        sae,
        W_enc=sae.W_enc / scale,
        b_enc=sae.b_enc / scale,
        W_dec=sae.W_dec * scale[:, None],
        threshold=None if sae.threshold is None else sae.threshold / scale,
        rank_scale=rank_scale,
    )
    _refuse_overflow(sae, folded)
    return folded


def fold_threshold(sae: SAE) -> SAE:
    """Threshold folding (Eq. 4): afterwards every threshold is one.

    Raises:
        UserError: If the SAE has no thresholds, or one that is not positive and finite.
    """
    return fold_scale(sae, folding_scale(sae, "threshold"))


def fold_decoder_norm(sae: SAE) -> SAE:
    """Decoder-norm folding: afterwards every decoder row has unit norm.

    Raises:
        UserError: If a decoder row is zero or not finite.
    """
    return fold_scale(sae, folding_scale(sae, "decoder_norm"))


def natural_fold(sae: SAE) -> Fold:
    """The folding that fits an SAE's kind: by threshold where it has one, else by decoder norm."""
    return "decoder_norm" if sae.threshold is None else "threshold"


def live_features(sae: SAE) -> Bool[Tensor, " d_sae"]:
    """Features that write something, read something and, with thresholds, have one that can be folded."""
    live = (sae.W_dec != 0).any(dim=1) & (sae.W_enc != 0).any(dim=0)
    return live if sae.threshold is None else live & torch.isfinite(sae.threshold) & (sae.threshold > 0)


def folding_scale(sae: SAE, fold: Fold, keep: Bool[Tensor, " d_sae"] | None = None) -> Float[Tensor, " d_sae"]:
    """What each feature's value is divided by under a folding: `theta`, `1 / |W_dec row|`, or 1.

    Args:
        sae: The SAE.
        fold: The folding.
        keep: Features that matter; all by default. The scale of others is one.

    Raises:
        UserError: If the SAE cannot be folded that way; the message names the features and both ways on.
    """
    refuse_unknown_fold(fold)
    if fold == "none":
        return torch.ones_like(sae.b_enc)
    if keep is not None:
        sae = harmless_where_not(sae, keep)
    if fold == "decoder_norm":
        norms = sae.W_dec.norm(dim=1)
        _refuse_bad_scale(norms, "decoder-norm folding: norm of decoder row", _WAYS_ON)
        return torch.reciprocal(norms)
    if sae.threshold is None:
        raise UserError(
            f"threshold folding needs a JumpReLU SAE, this one is {sae.activation!r}; "
            "use fold='decoder_norm' (on the command line matcher=decoder_norm)"
        )
    _refuse_bad_scale(sae.threshold, "threshold folding: threshold of feature", _WAYS_ON)
    return sae.threshold


def harmless_where_not(sae: SAE, keep: Bool[Tensor, " d_sae"]) -> SAE:
    """The same SAE with ones for the parameters of features that are not kept."""
    keep = keep.to(sae.b_enc.device)
    return replace(
        sae,
        W_enc=torch.where(keep, sae.W_enc, 1),
        b_enc=torch.where(keep, sae.b_enc, 1),
        W_dec=torch.where(keep[:, None], sae.W_dec, 1),
        threshold=None if sae.threshold is None else torch.where(keep, sae.threshold, 1),
    )


def _refuse_overflow(sae: SAE, folded: SAE) -> None:
    for name, dimension in (("W_enc", 0), ("b_enc", None), ("W_dec", 1)):
        lost = torch.isfinite(sae.tensors()[name]) & ~torch.isfinite(folded.tensors()[name])
        features = lost if dimension is None else lost.any(dim=dimension)
        if features.any():
            feature = int(features.nonzero()[0])
            raise UserError(
                f"folding takes {name} of feature {feature} out of the range of {sae.W_enc.dtype} "
                f"({_counted(features)}){_WAYS_ON}"
            )


def _refuse_bad_scale(scale: Float[Tensor, " d_sae"], what: str, ways_on: str = "") -> None:
    bad = ~(torch.isfinite(scale) & (scale > 0))
    if bad.any():
        feature = int(bad.nonzero()[0])
        raise UserError(
            f"{what} {feature} is {float(scale[feature]):g}, must be positive and finite ({_counted(bad)}){ways_on}"
        )


def _counted(features: Bool[Tensor, " d_sae"]) -> str:
    """How many features are meant, and which: `2 of 10 features are so: 3, 7`."""
    numbers = features.nonzero().flatten().tolist()
    more = " …" if len(numbers) > _SHOWN else ""
    return f"{len(numbers)} of {len(features)} features are so: {', '.join(map(str, numbers[:_SHOWN]))}{more}"
