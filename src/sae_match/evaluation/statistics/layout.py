"""What a validation measures, which determines what is added up, and by what its numbers are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sae_match.evaluation.arm_names import LAYER_DROP
from sae_match.evaluation.plan import Pair, arms_of
from sae_match.evaluation.statistics.forms import Form
from sae_match.saes.two import ends_of, is_target

ArmKey = tuple[Pair, str, str]
"""Pair of layers, arm, dataset."""
LayerKey = tuple[int, str]
"""Layer, dataset; of two collections the end of a pair (`sae_match.saes.two`), dataset."""


@dataclass(frozen=True)
class Layout:
    """What is measured, which determines what is added up.

    Attributes:
        pairs: Pairs of layers.
        arms: Arms of each pair, as far as it has them.
        datasets: Names of the datasets.
        d_in: Entries of a residual; of two models, of the target's.
        features: Features of the SAE of each layer, or end.
        twins: Arms that are another one by another name, with that one; both have the same sums.
        forms: Further forms of explained variance.
        apart: Whether sources and targets are of two collections.
        d_source: Of two language models, entries of a residual of the source's; none of one model.
    """

    pairs: Sequence[Pair]
    arms: Sequence[str]
    datasets: Sequence[str]
    d_in: int
    features: Mapping[int, int]
    twins: Mapping[str, str] = field(default_factory=dict)
    forms: Sequence[Form] = ()
    apart: bool = False
    d_source: int | None = None

    @property
    def two_models(self) -> bool:
        """Whether sources and targets read two language models."""
        return self.d_source is not None

    def width(self, end: int) -> int:
        """Entries of a residual of a layer, or end."""
        return self.d_in if self.d_source is None or is_target(end) else self.d_source

    def changes_in(self, pair: Pair) -> bool:
        """Whether the two residuals of a pair have a difference: not one with itself, nor two of unlike widths."""
        if self.d_source is not None:
            return self.d_source == self.d_in
        return pair[0] != pair[1]

    def arms_of(self, pair: Pair) -> list[str]:
        """Arms of a pair."""
        return arms_of(pair, self.arms, self.two_models)

    def ends(self, pair: Pair) -> tuple[int, int]:
        """What the SAEs of a pair of layers, and what is known of them, are asked for by."""
        return ends_of(pair, self.apart)

    def held(self, pair: Pair) -> tuple[int, int]:
        """Whose residuals a pair takes: of one model by layer, of two by end."""
        return self.ends(pair) if self.two_models else pair

    def layers(self) -> list[LayerKey]:
        """Every layer, or end, that takes part, on every dataset."""
        layers = sorted({end for pair in self.pairs for end in self.ends(pair)})
        return [(layer, dataset) for layer in layers for dataset in self.datasets]

    def runs(self) -> list[ArmKey]:
        """Every pair and arm, on every dataset."""
        return [(pair, arm, dataset) for pair in self.pairs for arm in self.arms_of(pair) for dataset in self.datasets]

    def changes(self) -> list[ArmKey]:
        """What the layers of each pair change, on every dataset: the error of leaving them out, measured or not."""
        changed = filter(self.changes_in, self.pairs)
        return [(pair, LAYER_DROP, dataset) for pair in changed for dataset in self.datasets]

    def unmeasured_changes(self) -> list[ArmKey]:
        """Of these, those that no arm measures."""
        return [] if LAYER_DROP in self.arms else self.changes()
