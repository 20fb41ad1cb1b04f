"""What a validation measures: the language model, or two, the SAEs, and all that arms are made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from sae_match.evaluation.arms import Stage
from sae_match.evaluation.fitting import LinearMap
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.plan import Pair, arms_of
from sae_match.evaluation.transport import ActiveValues
from sae_match.model.two.streams import Streams, TwoStreams, place_of
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site
from sae_match.saes.two import ends_of


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        stream: The language model.
        site: Where its SAEs read.
        open_sae: Gives the SAE of a layer, or of an end where there are two collections.
        matchings: Of each pair of layers.
        linear: Affine maps of each pair, where an arm needs them.
        arms: Arms, as far as a pair has them.
        means: Mean residual of each target layer, where an arm needs it.
        turn_to: Told which layers, or ends, are about to be measured, whose SAEs are then asked for many times.
        blocks: How much is computed at one time; as much as is of use on a batch's device by default.
        apart: Whether sources and targets are of two collections.
        rotations: Affine maps that turn and shift only, of each pair, where an arm needs them.
    """

    stream: Streams
    site: Site
    open_sae: Callable[[int], SAE]
    matchings: Mapping[Pair, PairMatchings]
    linear: Mapping[Pair, LinearMap]
    arms: Sequence[str]
    means: Mapping[int, Float[Tensor, " d_in"]] = field(default_factory=dict)
    turn_to: Callable[[Iterable[int]], None] = lambda _: None
    blocks: Blocks | None = None
    apart: bool = False
    rotations: Mapping[Pair, LinearMap] = field(default_factory=dict)

    def arms_of(self, pair: Pair) -> list[str]:
        """Arms of a pair."""
        return arms_of(pair, self.arms, isinstance(self.stream, TwoStreams))

    def place(self, end: int) -> int:
        """What values of a layer, or end, are asked for by."""
        return place_of(self.stream, end)

    def ends(self, pair: Pair) -> tuple[int, int]:
        """What the SAEs of a pair of layers are asked for by."""
        return ends_of(pair, self.apart)

    def as_read(self, layer: int, value: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
        """Residuals of a layer, or end, or what stands in for them, as the next block reads them."""
        return self.stream.as_read(self.site, self.place(layer), value)

    def stage(
        self,
        pair: Pair,
        x_source: Float[Tensor, "tokens d_source"],
        f_source: ActiveValues,
        f_target: ActiveValues,
    ) -> Stage:
        """What the arms of a pair are made of, on these tokens."""
        matched, (source, target) = self.matchings[pair], self.ends(pair)
        return Stage(
            source=self.open_sae(source),
            target=self.open_sae(target),
            x_source=x_source,
            f_source=f_source,
            f_target=f_target,
            transports=matched.transports,
            linear=self.linear.get(pair),
            cheap=matched.cheap,
            mean=self.means.get(pair[1]),
            significant=matched.significant,
            rotation=self.rotations.get(pair),
        )
