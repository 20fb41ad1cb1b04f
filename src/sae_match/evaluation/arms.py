"""The arms: everything that can stand in for the residual `x_t` of a target layer (`evaluation/README.md`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor

from sae_match.evaluation.arm_names import (
    LAYER_DROP,
    LINEAR_MAP,
    LINEAR_MAP_SAE,
    MATCHED,
    MATCHED_SIGNIFICANT,
    MEAN,
    PROCRUSTES,
    RECONSTRUCT_SOURCE,
    RECONSTRUCT_TARGET,
    SWAPPED,
    SWAPPED_SIGNIFICANT,
)
from sae_match.evaluation.fitting import LinearMap
from sae_match.evaluation.transport import ActiveValues, Transport, reconstructed
from sae_match.saes.sae import SAE


@dataclass(frozen=True)
class Stage:
    """What arms are made of, for a batch's tokens and a pair of layers.

    Attributes:
        source: SAE of the source layer.
        target: SAE of the target layer.
        x_source: True residuals of the source layer.
        f_source: Source features of them, those that are active.
        f_target: Target features of the true `x_t`, likewise.
        transports: For each matching arm, its transport.
        linear: The affine map from `x_s` to `x_t`, where an arm needs it.
        cheap: For each arm `quantile_q`, the source features that it decodes as target features.
        mean: Mean residual of the target layer, where an arm needs it.
        significant: Source features whose pair in `matched` is significant, where an arm needs them.
        rotation: As `linear`, of the maps that turn and shift only.
    """

    source: SAE
    target: SAE
    x_source: Float[Tensor, "tokens d_source"]
    f_source: ActiveValues
    f_target: ActiveValues
    transports: Mapping[str, Transport] = field(default_factory=dict)
    linear: LinearMap | None = None
    cheap: Mapping[str, Bool[Tensor, " n_source"]] = field(default_factory=dict)
    mean: Float[Tensor, " d_in"] | None = None
    significant: Bool[Tensor, " n_source"] | None = None
    rotation: LinearMap | None = None


def stand_in(arm: str, at: Stage) -> Float[Tensor, "tokens d_in"]:
    """What an arm puts in place of `x_t`."""
    if arm in _MADE:
        return _MADE[arm](at)
    if arm in at.cheap:
        return _partly_matched(at, at.cheap[arm])
    return _decoded(at.target, at.transports[arm](at.f_source))


def _decoded(sae: SAE, f: ActiveValues) -> Float[Tensor, "tokens d_in"]:
    return f.through(sae.W_dec) + sae.b_dec


def _partly_matched(at: Stage, chosen: Bool[Tensor, " n_source"]) -> Float[Tensor, "tokens d_in"]:
    """Chosen features decoded as target features, the others as source features; the bias is the target's."""
    matched = at.transports[MATCHED].only(chosen)(at.f_source)
    return _decoded(at.target, matched) + at.f_source.times(~chosen).through(at.source.W_dec)


def _swapped(at: Stage, transport: Transport) -> Float[Tensor, "tokens d_in"]:
    """The source residual with the directions of features exchanged for those of the partners that they have."""
    taken = at.f_source.times(transport.permutation >= 0)
    return at.x_source + transport(at.f_source).through(at.target.W_dec) - taken.through(at.source.W_dec)


def _significant(at: Stage) -> Bool[Tensor, " n_source"]:
    if at.significant is None:
        raise ValueError("no pair was judged")
    return at.significant


def _mapped(at: Stage, by: LinearMap | None) -> Float[Tensor, "tokens d_in"]:
    if by is None:
        raise ValueError("no linear map was fitted")
    return by(at.x_source)


def _mean(at: Stage) -> Float[Tensor, "tokens d_in"]:
    if at.mean is None:
        raise ValueError("no mean was fitted")
    return at.mean.expand(len(at.x_source), -1)


_MADE: dict[str, Callable[[Stage], Tensor]] = {
    LAYER_DROP: lambda at: at.x_source,
    RECONSTRUCT_TARGET: lambda at: _decoded(at.target, at.f_target),
    RECONSTRUCT_SOURCE: lambda at: _decoded(at.source, at.f_source),
    MEAN: _mean,
    SWAPPED: lambda at: _swapped(at, at.transports[MATCHED]),
    SWAPPED_SIGNIFICANT: lambda at: _swapped(at, at.transports[MATCHED].among(_significant(at))),
    MATCHED_SIGNIFICANT: lambda at: _partly_matched(at, _significant(at)),
    LINEAR_MAP: lambda at: _mapped(at, at.linear),
    LINEAR_MAP_SAE: lambda at: reconstructed(at.target, _mapped(at, at.linear)),
    PROCRUSTES: lambda at: _mapped(at, at.rotation),
}
