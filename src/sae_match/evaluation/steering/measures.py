"""What steering says of each arm of a path, with replicates over documents, and of several paths together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.bootstrap import bootstrap_weights, interval
from sae_match.evaluation.arm_names import MATCHED, NEAREST
from sae_match.evaluation.steering.adding import (
    KNOWN,
    OWN,
    OWN_SQUARED,
    PRODUCT,
    RISE,
    THEIRS,
    THEIRS_SQUARED,
    THERE,
    TOKENS,
    TOP,
)
from sae_match.evaluation.steering.paths import ARMS
from sae_match.evaluation.steering.settings import FIRST

CARRIED, TOP_SHARE, EFFECT = "carried_steering", "steered_top1", "steering_effect"
ALONE, AGREEMENT = "effect_alone", "steering_agreement"
METRICS = (CARRIED, TOP_SHARE, EFFECT, ALONE, AGREEMENT)
#: Behind a metric: how much more of it the matched path has than another arm's.
LEAD = "_lead"
#: What is said where there is no number.
NO_FEATURE, CHANGES_NOTHING = "no live feature", "changes nothing"


# Source layer, target layer, where, strength, arm, dataset, metric.
_About = tuple[int, int, str, float, str, str, str]


@dataclass(frozen=True, eq=False)
class SteeredPath:
    """What was summed of a path on a dataset.

    Attributes:
        start: Layer and feature that it begins with.
        layers: Behind the first.
        dataset: Name of the dataset.
        documents: Their numbers in it.
        sums: See `adding`.
        features: Of the arms `matched` and `nearest`; -1 for none.
        typical: Typical activation of the first feature.
        where, strengths: What was added.
    """

    start: tuple[int, int]
    layers: tuple[int, ...]
    dataset: str
    documents: tuple[int, ...]
    sums: Float64[Tensor, "where strengths arms documents steps ten"]
    features: Int64[Tensor, "two steps"]
    typical: float
    where: tuple[str, ...]
    strengths: tuple[float, ...]

    def joined(self, other: "SteeredPath") -> "SteeredPath":
        """With further documents."""
        return replace(self, documents=(*self.documents, *other.documents), sums=torch.cat([self.sums, other.sums], 3))


@dataclass(frozen=True)
class Row:
    """A number; the columns of the table are its fields.

    Attributes:
        source_layer, source_feature: Where the path begins; no feature where it is the mean over all paths from there.
        target_layer: Of the later feature.
        where: At which layers directions are added.
        strength: Multiple of the typical activation.
        arm: Whose features are looked at; with `each`, also whose are added.
        target_feature: Of the arms `matched` and `nearest`; others draw one for each document.
        dataset: Name.
        metric: Name.
        value, low, high: With the 95 % interval over documents, or over documents and features.
        said: Why there is no number.
        tokens, documents: That it rests on.
    """

    source_layer: int
    source_feature: int | None
    target_layer: int
    where: str
    strength: float
    arm: str
    target_feature: int | None
    dataset: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    said: str
    tokens: int
    documents: int


def numbers_of(sums: Float64[Tensor, "rows ten"], strength: float, where: str) -> dict[str, Float64[Tensor, " rows"]]:
    """All metrics of sums; nan where there is no number.

    Args:
        sums: Over documents; see `adding`.
        strength: Multiple that was added.
        where: At which layers.
    """
    known = sums[:, KNOWN]
    found = {
        CARRIED: sums[:, RISE] / (known * strength),
        TOP_SHARE: sums[:, TOP] / sums[:, THERE],
        EFFECT: sums[:, OWN] / sums[:, TOKENS],
    }
    if where == FIRST:
        product, own, theirs = (sums[:, one] for one in (PRODUCT, OWN_SQUARED, THEIRS_SQUARED))
        moves = (own > 0) & (theirs > 0)
        found[ALONE] = sums[:, THEIRS] / known
        found[AGREEMENT] = torch.where(moves, (product / (own * theirs).sqrt()).clamp(-1.0, 1.0), torch.nan)
    return found


def rows_of(several: Sequence[SteeredPath], seed: int) -> Iterator[Row]:
    """All numbers of all paths, and their means over paths that begin in one layer, where there are several."""
    together: dict[_About, list[tuple[int, Tensor]]] = {}
    for path in several:
        weights = bootstrap_weights(path.dataset, path.documents, seed)
        for place, where in enumerate(path.where):
            for number, strength in enumerate(path.strengths):
                for step, layer in enumerate(path.layers):
                    sums = [torch.matmul(weights, one[:, step]) for one in path.sums[place, number]]
                    for arm, metric, values, said in _of_arms(sums, strength, where):
                        key = path.start[0], layer, where, strength, arm, path.dataset, metric
                        together.setdefault(key, []).append((path.start[1], values))
                        yield _row(path, layer, step, where, strength, arm, metric, values, said)
    for key, parts in together.items():
        if len(parts) > 1:
            yield _mean(key, parts, several, seed)


def _of_arms(
    sums: Sequence[Float64[Tensor, "rows ten"]], strength: float, where: str
) -> Iterator[tuple[str, str, Float64[Tensor, " rows"], str]]:
    """Arm, metric, values and what is said of those that are none."""
    found = {arm: numbers_of(one, strength, where) for arm, one in zip(ARMS, sums, strict=True)}
    for arm, one in zip(ARMS, sums, strict=True):
        nothing = NO_FEATURE if float(one[0, THERE]) == 0 else CHANGES_NOTHING
        for metric, values in found[arm].items():
            yield arm, metric, values, "" if values[0].isfinite() else nothing
            if arm != MATCHED and metric in (CARRIED, AGREEMENT, TOP_SHARE):
                lead = found[MATCHED][metric] - values
                yield arm, f"{metric}{LEAD}", lead, "" if lead[0].isfinite() else "one of both has no number"


def _row(
    path: SteeredPath,
    layer: int,
    step: int,
    where: str,
    strength: float,
    arm: str,
    metric: str,
    values: Float64[Tensor, " rows"],
    said: str,
) -> Row:
    fixed = {MATCHED: 0, NEAREST: 1}
    feature = int(path.features[fixed[arm], step]) if arm in fixed else -1
    tokens = int(path.sums[0, 0, 0, :, 0, TOKENS].sum())
    documents = len(path.documents)
    value = float(values[0]) if values[0].isfinite() else None
    low, high = _ends(values)
    return Row(
        *path.start,
        layer,
        where,
        strength,
        arm,
        feature if feature >= 0 else None,
        path.dataset,
        metric,
        value,
        low,
        high,
        said,
        tokens,
        documents,
    )


def _mean(
    key: _About,
    parts: Sequence[tuple[int, Float64[Tensor, " rows"]]],
    several: Sequence[SteeredPath],
    seed: int,
) -> Row:
    """Mean over paths that have a number; a replicate counts documents and paths at random (Owen 2007)."""
    layer, target, where, strength, arm, dataset, metric = key
    values = torch.stack([one for _, one in parts], 1)
    weights = bootstrap_weights(f"L{layer} steered", [feature for feature, _ in parts], seed)
    weights = weights * (values.isfinite() & values[:1].isfinite())
    mean = torch.where(weights > 0, values, 0.0).mul(weights).sum(1) / weights.sum(1)
    there = [one for one in several if one.start[0] == layer and one.dataset == dataset]
    missing = int(values[0].isnan().sum())
    said = f"{missing} of {len(parts)} paths have no number" if missing else ""
    low, high = _ends(mean)
    return Row(
        layer,
        None,
        target,
        where,
        strength,
        arm,
        None,
        dataset,
        metric,
        float(mean[0]) if mean[0].isfinite() else None,
        low,
        high,
        said,
        int(there[0].sums[0, 0, 0, :, 0, TOKENS].sum()),
        len(there[0].documents),
    )


def _ends(values: Float64[Tensor, " rows"]) -> tuple[float | None, float | None]:
    found = interval(values) if values[0].isfinite() else None
    return (None, None) if found is None else found


def by_dataset(paths: Sequence[SteeredPath]) -> Mapping[tuple[tuple[int, int], str], SteeredPath]:
    """Each path with all its documents of a dataset."""
    found: dict[tuple[tuple[int, int], str], SteeredPath] = {}
    for one in paths:
        key = one.start, one.dataset
        found[key] = found[key].joined(one) if key in found else one
    return found
