"""What relations say of a pair of layers, as rows of `results.csv`."""

import math
from collections.abc import Iterator, Mapping

import torch

from sae_match.errors import UserError
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.relations.overlap import MeanShare, Overlap
from sae_match.evaluation.relations.stitching import Stitching
from sae_match.evaluation.significance.over_features import Estimate, sums_over_features
from sae_match.evaluation.statistics.results import WEIGHTS, Result
from sae_match.matching.relations.kinds import KINDS, NOT_TESTED
from sae_match.matching.relations.result import Relations
from sae_match.matching.relations.subspaces import SpaceOverlap, common_space
from sae_match.matching.significance.result import Significance
from sae_match.saes.sae import SAE

# Random spaces, as many where activations are up to so wide, and how many at least.
_DRAWS, _NARROW, _FEWEST_DRAWS = 200, 256, 20
#: What the column `arm` says of them: they are about no stand-in.
RELATIONS = "relations"


def kind_shares(relations: Relations, population: str, seed: int = 0) -> dict[str, Estimate]:
    """Share of the tested features of each side that are of each kind, with intervals over features.

    Args:
        relations: Of a pair of layers.
        population: What the features belong to; those of another one have other weights.
        seed: Of the draws.

    Returns:
        By `source_share_one_to_one` and so on; kinds that a side cannot have are left out.
    """
    found: dict[str, Estimate] = {}
    for side, kinds, tested, never in (
        ("source", relations.source_kind, relations.source_tested, "appear"),
        ("target", relations.target_kind, relations.target_tested, "end"),
    ):
        measured = {
            f"{side}_share_{_metric(name)}": ((kinds == number).double(), tested)
            for number, name in enumerate(KINDS[:NOT_TESTED])
            if name != never
        }
        sums = sums_over_features(measured, f"{population} {side}", seed)
        found |= {name: Estimate.of(each.mean) for name, each in sums.items()}
    return found


def space_of_the_alone(
    source: SAE, target: SAE, significance: Significance, alpha: float, seed: int = 0
) -> SpaceOverlap | None:
    """How much the spaces have in common that features write to which only one of two dictionaries has.

    None where there are too few of them. Wide activations have fewer draws, each of which takes their width cubed.

    Args:
        source: One dictionary.
        target: Another one of the same layer.
        significance: Of their matching.
        alpha: Level at which a feature has a partner.
        seed: Of the draws.
    """
    found = significance.q <= alpha
    of_target = torch.ones(target.d_sae, dtype=torch.bool)
    of_target[significance.matching.permutation[found]] = False
    draws = max(_FEWEST_DRAWS, min(_DRAWS, int(_DRAWS * (_NARROW / source.d_in) ** 2)))
    try:
        return common_space(source, target, significance.tested & ~found, of_target, draws=draws, seed=seed)
    except UserError:
        # Fewer than two features are alone on one side: there is no space to speak of.
        return None


def results_of(
    pair: Pair,
    relations: Relations,
    overlaps: Mapping[str, Overlap] | None = None,
    stitched: Mapping[str, Stitching] | None = None,
    space: SpaceOverlap | None = None,
    *,
    seed: int = 0,
) -> Iterator[Result]:
    """All numbers of a pair of layers.

    Args:
        pair: The layers.
        relations: Of their dictionaries.
        overlaps: What relatives do on each dataset.
        stitched: What the target's features add to the source's dictionary, on each dataset.
        space: Of the features that only one of two dictionaries has.
        seed: Of the bootstrap.
    """

    def row(dataset: str, metric: str, found: Estimate, tokens: int = 0, documents: int = 0) -> Result:
        low, high = found.low, found.high
        return Result(*pair, RELATIONS, dataset, metric, found.value, low, high, tokens, documents)

    for metric, found in kind_shares(relations, f"L{pair[0]:02d}-L{pair[1]:02d}", seed).items():
        yield row(WEIGHTS, metric, found)
    for metric, value in _of_space(space) if space is not None else ():
        yield row(WEIGHTS, metric, Estimate(value))
    for dataset, overlap in (overlaps or {}).items():
        for name, means in (("containment", overlap.mean_containment), ("coverage", overlap.mean_coverage)):
            for kind, mean in means.items():
                for metric, each in _estimates(f"{name}_{_metric(kind)}", mean):
                    yield row(dataset, metric, each, documents=overlap.documents)
    for dataset, one in (stitched or {}).items():
        for kind, share in one.shares.items():
            if not math.isnan(share.new.value):
                yield row(dataset, f"new_{_metric(kind)}", share.new, one.tokens, one.documents)


def _of_space(space: SpaceOverlap) -> Iterator[tuple[str, float]]:
    """Mean squared cosine of the principal angles, and the same by chance, twice."""
    yield "alone_source", float(space.features[0])
    yield "alone_target", float(space.features[1])
    yield "alone_space_shared", space.shared
    yield "alone_space_random", float(space.random.mean())
    yield "alone_space_drawn", float(space.drawn.mean())
    yield "alone_space_p_drawn", space.p_drawn


def _estimates(metric: str, mean: MeanShare) -> Iterator[tuple[str, Estimate]]:
    yield metric, mean.share
    yield f"{metric}_control", mean.control
    yield f"{metric}_difference", mean.difference


def _metric(name: str) -> str:
    return name.replace(" ", "_")
