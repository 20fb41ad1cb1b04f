"""What a feature is, by where there is something like it: carried over, processed, newborn, or unexplained."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sae_match.evaluation.provenance.origins import Origin
from sae_match.evaluation.provenance.sources import Source

_MODULES: tuple[Source, ...] = ("mlp", "attention")

CARRIED, PROCESSED, NEWBORN, UNEXPLAINED, NOT_TESTED = range(5)
#: Names of the kinds, by their numbers.
KINDS = ("carried over", "processed", "newborn", "unexplained", "not tested")

#: The literature's cuts: a convention, said beside the q-values.
CUTS: Mapping[Source, float] = {"residual": 0.5, "mlp": 0.15, "attention": 0.15}


def kinds_of(like: Mapping[Source, Bool[Tensor, " n"]], tested: Bool[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The kind of each feature.

    Args:
        like: For each source that there is, whether it has something like the feature. One that is missing has not.
        tested: Features that have a direction.
    """
    nothing = torch.zeros_like(tested)
    before = like.get("residual", nothing)
    made = like.get("mlp", nothing) | like.get("attention", nothing)
    kind = torch.full(tested.shape, UNEXPLAINED, dtype=torch.int64)
    kind[before & ~made], kind[before & made], kind[~before & made] = CARRIED, PROCESSED, NEWBORN
    kind[~tested] = NOT_TESTED
    return kind


@dataclass(frozen=True, eq=False)
class LayerProvenance:
    """Where the features of a layer come from, by weights.

    Attributes:
        layer: The layer.
        origins: What is nearest to each feature, by source; without those that there is no SAE of.
        alpha: Level at which a nearest row counts as alike.
        onward: What is nearest to each feature in the next layer's residual SAE; none of the last layer.
    """

    layer: int
    origins: Mapping[Source, Origin]
    alpha: float
    onward: Origin | None = None

    @property
    def features(self) -> int:
        """Number of features."""
        return len(self.tested)

    @property
    def tested(self) -> Bool[Tensor, " n"]:
        """Features that have a direction."""
        return next(iter(self.origins.values())).tested

    def like(self, source: Source) -> Bool[Tensor, " n"]:
        """Whether a source has something significantly like each feature."""
        if source not in self.origins:
            return torch.zeros_like(self.tested)
        return self.origins[source].q <= self.alpha

    @property
    def kinds(self) -> Int64[Tensor, " n"]:
        """The kind of each feature, by q-values."""
        return kinds_of({source: self.like(source) for source in self.origins}, self.tested)

    @property
    def kinds_by_cut(self) -> Int64[Tensor, " n"]:
        """The kind of each feature by the literature's cuts."""
        return kinds_of({name: self._beyond_cut(name) for name in self.origins}, self.tested)

    @property
    def ends(self) -> Bool[Tensor, " n"] | None:
        """Features that nothing in the next layer is significantly like; none of the last layer."""
        return None if self.onward is None else self.tested & ~(self.onward.q <= self.alpha)

    def made_by(self, *, by_cut: bool = False) -> dict[str, Bool[Tensor, " n"]]:
        """Newborn features by which module has something like them: `mlp`, `attention` or `both`.

        Args:
            by_cut: By the literature's cuts instead of q-values.
        """
        newborn = (self.kinds_by_cut if by_cut else self.kinds) == NEWBORN
        mlp, attention = (self._beyond_cut(name) if by_cut else self.like(name) for name in _MODULES)
        return {
            "mlp": newborn & mlp & ~attention,
            "attention": newborn & attention & ~mlp,
            "both": newborn & mlp & attention,
        }

    def _beyond_cut(self, source: Source) -> Bool[Tensor, " n"]:
        if source not in self.origins:
            return torch.zeros_like(self.tested)
        return self.origins[source].score >= CUTS[source]
