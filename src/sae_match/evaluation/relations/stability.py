"""Stability of features by how often they fire and how long they are, with intervals over features."""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from sae_match.evaluation.significance.over_features import Estimate, sums_over_features
from sae_match.matching.relations.stability import Stability, fifths


@dataclass(frozen=True)
class StablePart:
    """Features of about the same frequency or norm.

    Attributes:
        low: Smallest value among them.
        high: Largest value.
        middle: Median value.
        features: How many they are.
        share: Mean share of seeds that have them, with a 95 % interval over features.
    """

    low: float
    high: float
    middle: float
    features: int
    share: Estimate


def stability_by(
    stability: Stability, values: Float64[Tensor, " features"], *, population: str, seed: int = 0, parts: int = 5
) -> list[StablePart]:
    """Mean share of seeds in parts of equal size by a value, the smallest first; parts without features are left out.

    Args:
        stability: Of the features.
        values: Of each, such as tokens on which it was active, or its norm; nan where it is not known.
        population: What the features belong to; those of another one have other weights.
        seed: Of the draws.
        parts: How many.
    """
    tested = stability.seeds > 0
    masks = [mask for mask in fifths(values, tested, parts) if bool(mask.any())]
    measured = {str(number): (stability.share, mask) for number, mask in enumerate(masks)}
    sums = sums_over_features(measured, population, seed)
    return [
        StablePart(
            float(values[mask].min()),
            float(values[mask].max()),
            float(values[mask].median()),
            int(mask.sum()),
            Estimate.of(sums[str(number)].mean),
        )
        for number, mask in enumerate(masks)
    ]


def mean_stability(stability: Stability, *, population: str, seed: int = 0) -> Estimate:
    """Mean share of seeds over all tested features, with a 95 % interval over features."""
    measured = {"all": (stability.share, stability.seeds > 0)}
    return Estimate.of(sums_over_features(measured, population, seed)["all"].mean)
