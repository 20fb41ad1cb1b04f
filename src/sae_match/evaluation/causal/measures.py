"""What a causal check says of each feature, with replicates over documents, and of classes of features."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.bootstrap import ROWS, bootstrap_weights
from sae_match.evaluation.arm_names import COACTIVATION, MATCHED
from sae_match.evaluation.causal.effects import (
    AFTER,
    BEFORE,
    DOCUMENT,
    EITHER,
    FEATURE,
    OWN,
    OWN_SQUARED,
    PRODUCT,
    THEIRS,
    THEIRS_SQUARED,
    Effects,
    Falls,
    Rows,
)
from sae_match.evaluation.causal.sample import ARMS, NOT_SIGNIFICANT, SIGNIFICANT, Sample
from sae_match.evaluation.significance.over_features import Sums
from sae_match.saes.two import pair_name

CARRIED, AGREEMENT, DISAGREEMENT = "carried_activation", "effect_agreement", "disagreement_share"
TOP, RANK = "causal_top1", "causal_rank"
#: Behind a metric: how much more of it the matched partner has than another arm's, over features of which both have it;
#: the share of the features that have none; and how much more of it significant pairs have than the others.
LEAD, UNDEFINED, DIFFERENCE = "_lead", "_undefined", "_significant_difference"
#: Tokens that a correlation rests on at least.
FEWEST_TOKENS = 10
# A published cut: two features with a correlation below do not agree in their effects.
_AGREES = 0.5
# Of a sum of squares: variance that rounding makes.
_ROUNDING = 1e-12
# Features whose replicates exist at one time.
_BLOCK = 128


def carried_activation(sums: Float64[Tensor, "*some nine"]) -> Float64[Tensor, "*some"]:
    """Share of the target feature's activation that is gone; nan where it never was active with the source feature."""
    before = sums[..., BEFORE]
    return torch.where(before > 0, 1 - sums[..., AFTER] / before, torch.nan)


def effect_agreement(sums: Float64[Tensor, "*some nine"], fewest: int = 2) -> Float64[Tensor, "*some"]:
    """Pearson correlation of the divergences that both features make when they are switched off.

    nan where one of them makes the same, such as none, on all tokens, and where there are too few tokens.

    Args:
        sums: Of an arm.
        fewest: Tokens that it rests on at least.
    """
    n, own, theirs = sums[..., EITHER], sums[..., OWN], sums[..., THEIRS]
    vary = (
        (sums[..., OWN_SQUARED] - own * own / n, sums[..., OWN_SQUARED]),
        (sums[..., THEIRS_SQUARED] - theirs * theirs / n, sums[..., THEIRS_SQUARED]),
    )
    defined = n >= fewest
    for variance, squares in vary:
        defined = defined & (variance > _ROUNDING * squares)
    found = (sums[..., PRODUCT] - own * theirs / n) / (vary[0][0] * vary[1][0]).sqrt()
    return torch.where(defined, found.clamp(-1.0, 1.0), torch.nan)


@dataclass(frozen=True, eq=False)
class OfFeatures:
    """Numbers of each feature of a sample on a dataset.

    Attributes:
        sums: Of each arm; see `effects`.
        tokens, documents: On which, and in how many of which, it was switched off.
        rank: Of each arm's partner among all target features by how far they fall, 1 for the one that falls farthest;
            zero where none falls.
        cause: The target feature that falls farthest; -1 where none falls.
        cause_fall: How far, summed over tokens.
    """

    sums: Float64[Tensor, "n arms nine"]
    tokens: Int64[Tensor, " n"]
    documents: Int64[Tensor, " n"]
    rank: Mapping[str, Int64[Tensor, " n"]]
    cause: Int64[Tensor, " n"]
    cause_fall: Float64[Tensor, " n"]

    @property
    def carried(self) -> Float64[Tensor, "n arms"]:
        """Carried activation."""
        return carried_activation(self.sums)

    @property
    def agreement(self) -> Float64[Tensor, "n arms"]:
        """Effect agreement."""
        return effect_agreement(self.sums, FEWEST_TOKENS)


def of_features(sample: Sample, effects: Effects, dataset: int | None = None) -> OfFeatures:
    """Numbers of each feature of a sample on a dataset, by its number; on all of them together by default."""
    n = len(sample)
    rows = effects.rows if dataset is None else effects.rows.of(dataset)
    number = rows.names[:, FEATURE]
    sums = torch.zeros(n, *rows.sums.shape[1:], dtype=torch.float64).index_add_(0, number, rows.sums)
    tokens = torch.zeros(n, dtype=torch.int64).index_add_(0, number, rows.names[:, -1])
    documents = torch.zeros(n, dtype=torch.int64).index_add_(0, number, torch.ones_like(number))
    falls = effects.falls
    if dataset is None:
        falls = Falls.joined([Falls(falls.keys % max(1, n * sample.width), falls.values)])
    cause, fall, ranks = _ranked(sample, falls, dataset or 0)
    return OfFeatures(sums, tokens, documents, ranks, cause, fall)


def _ranked(
    sample: Sample, falls: Falls, dataset: int
) -> tuple[Int64[Tensor, " n"], Float64[Tensor, " n"], dict[str, Int64[Tensor, " n"]]]:
    n, width = len(sample), sample.width
    cause, farthest = torch.full((n,), -1), torch.zeros(n, dtype=torch.float64)
    ranks = {arm: torch.zeros(n, dtype=torch.int64) for arm in sample.partners}
    edges = torch.searchsorted(falls.keys, (dataset * n + torch.arange(n + 1)) * width)
    for feature in range(n):
        keys, values = (part[edges[feature] : edges[feature + 1]] for part in (falls.keys, falls.values))
        if not len(values) or values.max() <= 0:
            continue
        target, at = keys % width, int(values.argmax())
        cause[feature], farthest[feature] = target[at], values[at]
        for arm, partners in sample.partners.items():
            if (partner := int(partners[feature])) >= 0:
                own = float(values[target == partner].sum())
                # Features that did not move are above one that rose.
                still = width - len(values) if own < 0 else 0
                ranks[arm][feature] = 1 + int((values > own).sum()) + still
    return cause, farthest, ranks


Key = tuple[str, str]
"""Arm and metric."""


def sums_of_classes(sample: Sample, effects: Effects, dataset: int, name: str, seed: int) -> dict[Key, Sums]:
    """Sums over the features of each class, of every metric and arm, with replicates over documents and features.

    A replicate counts each document and each feature as often as its own Poisson variable says (Owen's pigeonhole
    bootstrap, 2007): what other documents and other features would change, together; rather too wide than too narrow.

    Args:
        sample: The features.
        effects: What followed.
        dataset: Number of the dataset.
        name: Of the dataset.
        seed: Of the bootstrap.
    """
    rows, n = effects.rows.of(dataset), len(sample)
    found, classes = of_features(sample, effects, dataset), {"": torch.ones(n, dtype=torch.bool), **sample.classes}
    documents, place = rows.names[:, DOCUMENT].unique(return_inverse=True)
    of_documents = bootstrap_weights(name, documents.tolist(), seed)[:, place]
    of_all = bootstrap_weights(f"{pair_name(sample.pair)} features", sample.features.tolist(), seed)
    sums: dict[Key, Sums] = {}

    def add(arm: str, metric: str, values: Float64[Tensor, "rows some"], which: Tensor) -> None:
        # What the sample has decides whether there is a number: a replicate leaves out what it has none of.
        weights = of_all[:, which] * (values.isfinite() & values[:1].isfinite())
        values = torch.where(weights > 0, values, 0.0)
        for named, where in classes.items():
            part = where[which]
            if part.any():
                key = arm, f"{metric}_{named}" if named else metric
                one = Sums((weights * values)[:, part].sum(1), weights[:, part].sum(1))
                sums[key] = sums[key] + one if key in sums else one

    for which in torch.arange(n).split(_BLOCK):
        measured = _measured(rows, of_documents, which)
        for metric, by_arm in measured.items():
            for arm, values in zip(ARMS, by_arm, strict=True):
                add(arm, metric, values, which)
                add(arm, f"{metric}{UNDEFINED}", values[:1].isnan().double().expand(ROWS, -1), which)
                if arm != MATCHED:
                    add(arm, f"{metric}{LEAD}", by_arm[0] - values, which)
        for arm, values in zip(ARMS, measured[AGREEMENT], strict=True):
            disagrees = torch.where(values.isnan(), torch.nan, (values < _AGREES).double())
            add(arm, DISAGREEMENT, disagrees, which)
        for metric, arm, values in _of_partners(sample, found):
            add(arm, metric, values[which].expand(ROWS, -1), which)
    return sums


def _measured(
    rows: Rows, of_documents: Float64[Tensor, "rows entries"], which: Int64[Tensor, " some"]
) -> dict[str, list[Float64[Tensor, "rows some"]]]:
    """Carried activation and agreement of some features that follow one another, by arm, with replicates."""
    inside = (rows.names[:, FEATURE] >= which[0]) & (rows.names[:, FEATURE] <= which[-1])
    number, weights = rows.names[inside, FEATURE] - which[0], of_documents[:, inside]
    found: dict[str, list[Tensor]] = {CARRIED: [], AGREEMENT: []}
    for sums in rows.sums[inside].unbind(1):
        replicates = torch.zeros(ROWS, len(which), sums.shape[1], dtype=torch.float64)
        for column, values in enumerate(sums.unbind(1)):
            replicates[:, :, column].index_add_(1, number, weights * values)
        agreement = effect_agreement(replicates)
        agreement[0] = effect_agreement(replicates[0], FEWEST_TOKENS)
        found[CARRIED].append(carried_activation(replicates))
        found[AGREEMENT].append(agreement)
    return found


def _of_partners(sample: Sample, found: OfFeatures) -> Iterator[tuple[str, str, Float64[Tensor, " n"]]]:
    """Whether partners are what the source feature causes most, and whether two ways of matching agree."""
    for arm, rank in found.rank.items():
        known = (rank > 0) & (found.cause >= 0)
        yield TOP, arm, torch.where(known, (rank == 1).double(), torch.nan)
    yield f"{TOP}{UNDEFINED}", MATCHED, (found.cause < 0).double()
    if COACTIVATION in sample.partners:
        other = sample.partners[COACTIVATION]
        same = (sample.partners[MATCHED] == other).double()
        yield "same_as_coactivation", MATCHED, torch.where(other >= 0, same, torch.nan)


def with_differences(sums: Mapping[Key, Sums]) -> dict[Key, Float64[Tensor, " rows"]]:
    """Means of every metric, and of the metrics of the matched partner how much more significant pairs have of them."""
    means = {key: one.mean for key, one in sums.items()}
    for metric in (CARRIED, AGREEMENT, TOP):
        both = [means.get((MATCHED, f"{metric}_{named}")) for named in (SIGNIFICANT, NOT_SIGNIFICANT)]
        if both[0] is not None and both[1] is not None:
            means[MATCHED, f"{metric}{DIFFERENCE}"] = both[0] - both[1]
    return means


def pooled(several: Sequence[Mapping[Key, Sums]]) -> dict[Key, Sums]:
    """Sums over the features of several pairs of layers."""
    found: dict[Key, Sums] = {}
    for one in several:
        for key, sums in one.items():
            found[key] = found[key] + sums if key in found else sums
    return found
