"""What provenance comes to, layer by layer, as numbers with intervals over features."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.evaluation.provenance.kinds import KINDS, NEWBORN, NOT_TESTED, LayerProvenance
from sae_match.evaluation.provenance.sources import SOURCES
from sae_match.evaluation.provenance.study import Provenance
from sae_match.evaluation.significance.over_features import Estimate, Measured, sums_over_features
from sae_match.evaluation.statistics.results import WEIGHTS, Result

#: What the column `arm` says of them: they are about no stand-in.
PROVENANCE = "provenance"
#: Fewer activations than these say nothing about what a feature's pre-activation is made of.
FEWEST = 10


def results_of(found: Provenance) -> Iterator[Result]:
    """All numbers; source and target layer are both the layer whose features they are about."""
    for layer, one in sorted(found.layers.items()):
        yield from _rows(layer, WEIGHTS, _of_weights(one), found.seed)
        for dataset in found.datasets:
            contributions = found.contributions[layer, dataset]
            enough = contributions.active >= FEWEST
            raised = {
                f"contribution_{source}_{_metric(name)}": (
                    contributions.raised_by(source),
                    enough & (one.kinds == kind),
                )
                for kind, name in enumerate(KINDS[:NOT_TESTED])
                for source in SOURCES
            }
            yield from _rows(layer, dataset, raised, found.seed, contributions.tokens)


def shares_of(kinds: Int64[Tensor, " n"], tested: Bool[Tensor, " n"], prefix: str = "share") -> dict[str, Measured]:
    """Whether each feature is of each kind."""
    return {
        f"{prefix}_{_metric(name)}": ((kinds == number).double(), tested)
        for number, name in enumerate(KINDS[:NOT_TESTED])
    }


def _of_weights(one: LayerProvenance) -> dict[str, Measured]:
    tested = one.tested
    found = {**shares_of(one.kinds, tested), **shares_of(one.kinds_by_cut, tested, "cut_share")}
    found |= {f"like_{source}": (one.like(source).double(), tested) for source in one.origins}
    found |= {f"score_{source}": (_known(origin.score), tested) for source, origin in one.origins.items()}
    newborn = one.kinds == NEWBORN
    found |= {f"newborn_of_{name}": (made.double(), newborn) for name, made in one.made_by().items()}
    if (ends := one.ends) is not None:
        found["share_ends"] = (ends.double(), tested)
    return found


def _known(values: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    return values.nan_to_num(0.0)


def _rows(layer: int, dataset: str, measured: dict[str, Measured], seed: int, tokens: int = 0) -> Iterator[Result]:
    kept = {name: (_known(values), where) for name, (values, where) in measured.items() if bool(where.any())}
    if not kept:
        return
    for name, sums in sums_over_features(kept, f"L{layer:02d} {PROVENANCE}", seed).items():
        each = Estimate.of(sums.mean)
        if math.isfinite(each.value):
            yield Result(layer, layer, PROVENANCE, dataset, name, each.value, each.low, each.high, tokens, 0)


def total_share(found: Provenance, kind: int) -> float:
    """Share of the tested features of all layers that are of a kind."""
    kinds = torch.cat([one.kinds[one.tested] for one in found.layers.values()])
    return float((kinds == kind).double().mean())


def _metric(name: str) -> str:
    return name.replace(" ", "_")
