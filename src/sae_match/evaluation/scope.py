"""What a validation is of: which pairs of layers, under which arms. Follows from settings alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import (
    FITTED_ARMS,
    LINEAR_MAP,
    LINEAR_MAP_SAE,
    MATCHED,
    MATCHED_MAPPED,
    OF_TWO_MODELS,
)
from sae_match.evaluation.causal.settings import refuse_unswitchable
from sae_match.evaluation.fitting import refuse_too_few
from sae_match.evaluation.passes.load import Load
from sae_match.evaluation.plan import Pair, chosen_pairs, measured_arms, refuse_broken_chains, twins_among
from sae_match.evaluation.settings import EvaluationSettings, refuse_impossible, tells_drift
from sae_match.evaluation.statistics.forms import forms_of
from sae_match.evaluation.statistics.layout import Layout
from sae_match.evaluation.survey import Observer
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import PairWatch, unwatched
from sae_match.matching.settings import MatcherSettings
from sae_match.model.fit import refuse_layers_beyond
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.two.streams import Streams, TwoStreams, stream_at
from sae_match.saes.shelf import refuse_unmeasurable
from sae_match.saes.sites import Site, checked_site
from sae_match.saes.two import Collections, TwoCollections, ends_of, layer_of
from sae_match.text.batches import TextData, TokenBatch

Watch = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Surroundings:
    """What a validation finds around it: where it keeps things, and who looks on.

    Attributes:
        cache: Where matchings are kept between runs; beside it, what a run that was killed goes on from.
        folder: Run folder; the matchings are written to `matchings/` in it.
        watch_pair: Told where the solution of each pair stands.
        watch: Told what is being done while text is read.
        observers: Shown every layer's features of the evaluated text before anything is measured.
    """

    cache: MatchingCache
    folder: Path
    watch_pair: PairWatch = unwatched
    watch: Watch = lambda *_: None
    observers: tuple[Observer, ...] = ()


@dataclass(frozen=True)
class Scope:
    """What a validation is of.

    Attributes:
        site: Where the SAEs read.
        arms: In the order of tables.
        twins: Arms whose results are those of another one, with that one.
        pairs: Pairs of layers, in ascending order.
        layers: Layers that are in a pair.
        apart: Whether sources and targets are of two collections.
        widths: Of the SAEs' site in the source's language model and in the target's; none where there is one model.
        drifts: Whether it is told what drifted.
    """

    site: Site
    arms: list[str]
    twins: dict[str, str]
    pairs: list[Pair]
    layers: list[int] = field(default_factory=list)
    apart: bool = False
    widths: tuple[int, int] | None = None
    drifts: bool = False

    @classmethod
    def of(
        cls, stream: Streams, collection: Collections, matcher: MatcherSettings, settings: EvaluationSettings
    ) -> "Scope":
        """What settings ask for.

        Raises:
            UserError: If there is no such thing.
        """
        refuse_impossible(settings)
        pairs, site = chosen_pairs(collection, settings), checked_site(collection.site)
        widths = (stream.source.width(site), stream.target.width(site)) if isinstance(stream, TwoStreams) else None
        refuse_layers_beyond(stream, (end for pair in pairs for end in collection.ends(pair)))
        for end in {end: None for pair in pairs for end in collection.ends(pair)}:
            refuse_unmeasurable(collection.end_name(end), collection.describe_sae(end).unmeasurable)
        arms = measured_arms(settings, pairs, collection.apart, widths)
        if not isinstance(collection, TwoCollections):
            refuse_broken_chains(collection, pairs, arms)
        layers = sorted({layer for pair in pairs for layer in pair})
        twins = twins_among(arms, matcher.fold, settings.carry)
        drifts = tells_drift(settings, collection.apart, widths is not None)
        if settings.relations and MATCHED not in arms:
            raise UserError(
                "evaluation.relations needs the arm matched, which there is not between models of unlike width"
            )
        refuse_unswitchable(settings.causal, site, widths is not None, MATCHED in arms)
        unlike = widths is not None and widths[0] != widths[1]
        if unlike and MATCHED_MAPPED in arms and (settings.carry or matcher.fold) == "decoder_norm":
            raise UserError(
                f"{MATCHED_MAPPED} between models of unlike width cannot carry values by the norms of decoder rows, "
                "which the map changes: set evaluation.carry=none"
            )
        return cls(site, arms, twins, pairs, layers, collection.apart, widths, drifts)

    @property
    def ends(self) -> list[int]:
        """The ends of all pairs: what their SAEs are asked for by."""
        return sorted({end for pair in self.pairs for end in ends_of(pair, self.apart)})

    @property
    def measured(self) -> list[str]:
        """Arms that are measured: those that are not another one by another name."""
        return [arm for arm in self.arms if arm not in self.twins]

    @property
    def fitted(self) -> list[str]:
        """Arms that are fitted on text."""
        return [arm for arm in self.arms if arm in FITTED_ARMS]

    def layout(self, stream: Streams, datasets: Sequence[str], features: Mapping[int, int]) -> Layout:
        """What there will be numbers of.

        Args:
            stream: The language model, or two.
            datasets: Names of the datasets.
            features: Width of each SAE, by its end.
        """
        is_read = (stream_at(stream, end).anatomy.reading_norm(self.site, layer_of(end)) for end in self.ends)
        return Layout(
            self.pairs,
            self.arms,
            datasets,
            stream.width(self.site),
            features,
            self.twins,
            forms_of(all(is_read)),
            self.apart,
            None if self.widths is None else self.widths[0],
        )

    def load(self, stream: Streams, layout: Layout, batches: Sequence[TokenBatch], fits: int) -> Load:
        """What the memory of a validation follows from, with all pairs in one group.

        Args:
            stream: The language model.
            layout: What is measured.
            batches: The text.
            fits: Pairs that this process fits.
        """
        shapes = {(len(batch.input_ids), batch.input_ids.shape[1]) for batch in batches}
        rows, seq = max(shapes, key=math.prod)
        return Load(
            stream.sizes,
            next(stream.parameters()).element_size(),
            stream.attention,
            layout,
            self.measured,
            [layout.pairs],
            rows,
            seq,
            max(int(batch.scored.sum()) for batch in batches),
            fits,
            shapes=sorted(shapes - {(rows, seq)}),
            beside=_bytes(stream.source) if isinstance(stream, TwoStreams) else 0,
        )

    def refuse_unfit(self, fitting: TextData | None, width: int) -> None:
        """Check, before anything is matched, that the fitting text will do.

        Args:
            fitting: The fitting text, drawn.
            width: Of the SAEs' place in the model.

        Raises:
            UserError: If it will not.
        """
        if self.fitted and fitting is None:
            raise UserError(f"arms {', '.join(self.fitted)} are fitted on text, and no fitting text is given")
        if fitting is not None and {LINEAR_MAP, LINEAR_MAP_SAE, *OF_TWO_MODELS} & set(self.arms):
            refuse_too_few(sum(fitting.tokens().values()), max(width, *(self.widths or (0,))))


def _bytes(stream: ResidualStream) -> int:
    """What a model's weights take."""
    return stream.sizes.parameters * next(stream.parameters()).element_size()
