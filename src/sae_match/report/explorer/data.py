"""What the explorer shows, as a finished validation tells it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.evaluation.relations.overlap import Overlap
from sae_match.matching.relations.result import Relations


@dataclass(frozen=True)
class Context:
    """One place where a feature fires.

    Attributes:
        tokens: Those around it, decoded.
        position: Which of them it fires on.
        value: The feature's value there.
        dataset: The text's.
        document: Its number in the dataset.
    """

    tokens: Sequence[str]
    position: int
    value: float
    dataset: str
    document: int


@dataclass(frozen=True)
class LayerData:
    """The features of one layer.

    Attributes:
        layer: Which one; where there are two collections, its place among those shown.
        tokens: Evaluated tokens in all.
        active: Tokens on which each feature was active.
        mean_activation: Mean value where it was; nan where it never was.
        labels: Its description where there is one, else what it fires on; empty where it never was active.
        contexts: Strongest contexts of a feature, strongest first; called once for each.
        links: Address of a feature's page at Neuronpedia; none where it has none. Called once for each.
        name: What it is called, as in `3@seed_100`; by default its number.
    """

    layer: int
    tokens: int
    active: Int64[Tensor, " d_sae"]
    mean_activation: Float[Tensor, " d_sae"]
    labels: Sequence[str]
    contexts: Callable[[int], Sequence[Context]]
    links: Callable[[int], str | None]
    name: str | None = None

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return len(self.active)


@dataclass(frozen=True)
class StepEvidence:
    """What is known about the pairs of two layers by weights alone; nan or false where there is no pair.

    Attributes:
        q: Of all pairs that are as good or better, the share that chance accounts for.
        p: Probability that chance gives a feature a pair that is as good.
        statistic: Mean of the encoder's and the decoder's cosine.
        margin: How much more alike the pair is than the source feature and the best other target feature.
        mutual_nearest: Whether both are each other's nearest.
        encoder_agrees: Whether encoders alone give the same partner.
        decoder_agrees: Whether decoders alone do.
    """

    q: Float64[Tensor, " n_source"]
    p: Float64[Tensor, " n_source"]
    statistic: Float64[Tensor, " n_source"]
    margin: Float64[Tensor, " n_source"]
    mutual_nearest: Bool[Tensor, " n_source"]
    encoder_agrees: Bool[Tensor, " n_source"]
    decoder_agrees: Bool[Tensor, " n_source"]


@dataclass(frozen=True)
class StepCauses:
    """What a feature's partner does when the feature is switched off; nan, or zero, where it was not, or nothing moved.

    Attributes:
        carried: Share of the partner's activation that is gone.
        rank: Place of the partner among all target features by how far they fall, 1 for the one that falls farthest.
        agreement: Correlation of what switching off either does to the next token.
    """

    carried: Float64[Tensor, " n_source"]
    rank: Int64[Tensor, " n_source"]
    agreement: Float64[Tensor, " n_source"]


@dataclass(frozen=True)
class StepData:
    """The matching of two layers that follow each other among those shown.

    Attributes:
        source_layer, target_layer: The two.
        permutation: Target feature of each source feature, -1 where it has no partner.
        cost: Of each pair; nan where there is none.
        encoder_cosine: Of each pair's columns of `W_enc`; nan where there is none.
        decoder_cosine: Of each pair's rows of `W_dec`; nan where there is none.
        both: Tokens on which both features of the pair were active.
        evidence: Which pairs are matches; none where that was not asked.
        causes: What partners do when features are switched off; none where that was not asked.
    """

    source_layer: int
    target_layer: int
    permutation: Int64[Tensor, " n_source"]
    cost: Float64[Tensor, " n_source"]
    encoder_cosine: Float[Tensor, " n_source"]
    decoder_cosine: Float[Tensor, " n_source"]
    both: Int64[Tensor, " n_source"]
    evidence: StepEvidence | None = None
    causes: StepCauses | None = None


@dataclass(frozen=True)
class RelationsData:
    """What became of the features of a layer in another one.

    Attributes:
        source_layer, target_layer: The two, of those shown.
        relations: Edges between them and what hangs together by these.
        overlaps: What relatives do on text, by dataset; empty where that was not measured.
    """

    source_layer: int
    target_layer: int
    relations: Relations
    overlaps: Mapping[str, Overlap]


@dataclass(frozen=True)
class ExplorerData:
    """Everything that the explorer shows.

    Attributes:
        title: The model and its SAEs, as people call them.
        layers: In ascending order, at least one; they may have gaps and different widths.
        steps: Between layers that follow each other in `layers`. Paths end where one is missing.
        facts: Shown at the top, by name: model, SAEs, text, matcher and so on.
        warnings: What should make the reader wary, and what to do about it; the gravest first.
        alpha: Level at which pairs count as significant unless the reader chooses another one.
        fewest_activations: Tokens on which either feature of a pair must have been active for its co-activation to say
            something.
        relations: Between layers that follow each other or not; empty where that was not asked.
    """

    title: str
    layers: Sequence[LayerData]
    steps: Sequence[StepData]
    facts: Mapping[str, str]
    warnings: Sequence[tuple[str, str]] = ()
    alpha: float = 0.05
    fewest_activations: int = 0
    relations: Sequence[RelationsData] = ()

    def steps_between(self) -> list[StepData | None]:
        """The step from each layer to the next of `layers`; none where it is missing, so for the last."""
        by_pair = {(step.source_layer, step.target_layer): step for step in self.steps}
        numbers = [layer.layer for layer in self.layers]
        return [by_pair.get(pair) for pair in zip(numbers, [*numbers[1:], -1], strict=True)]
