"""What relations should reach: the right kinds where they are known, calibration, time and memory."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from sae_match.benchmark.measuring import Case, Figure, peak_gigabytes
from sae_match.benchmark.planted import planted_saes
from sae_match.benchmark.relations.on_bundled import bundled_relations
from sae_match.benchmark.relations.planted import Fates, planted_activity, planted_relations
from sae_match.benchmark.relations.relating import related
from sae_match.evaluation.relations.activity import PairedActivity
from sae_match.evaluation.relations.overlap import overlap
from sae_match.evaluation.statistics.streaming import Active
from sae_match.matching.matching import match
from sae_match.matching.relations.kinds import APPEAR
from sae_match.matching.relations.relations import relations
from sae_match.matching.result import Matching
from sae_match.matching.significance.result import NullEvidence, Significance

_SPECTRA = {"crowded": 0.35, "even": 0.0}
_STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_SIZE, _D_IN = 1024, 128
# What is aimed at: kinds that are right, kinds that are called and wrong, and p-values of what has no relative.
_RIGHT, _FALSE, _OFF = 0.9, 0.06, 0.02
# Of the matching's time, and gigabytes.
_TIMES, _MEMORY = 1.5, 12.0
_ALPHA, _ROTATIONS = 0.05, 8
_ON_TEXT, _TOKENS, _TOKENS_OF_DOCUMENT = 0.8, 6000, 200


def cases(seeds: int, seed: int) -> dict[str, Case]:
    """The cases by name, each to be run in a process of its own.

    Args:
        seeds: How many dictionaries of each kind.
        seed: The first of them, and of what else is planted.
    """
    return {
        "relations": partial(by_strength, seeds, seed),
        "relations_bundled": bundled_relations,
        "relations_65k": partial(cost, 16_384, 65_536, 2304, seed),
    }


@dataclass(frozen=True)
class Outcome:
    """What came out on a pair of dictionaries.

    Attributes:
        right: Share of the features of both sides whose kind is right.
        false: Of the features with a relative, as found, the share whose kind is wrong; zero where none has one.
        strangers: Of the edges, the share between features that are no relatives; zero without edges.
        low: Share of the features without a relative, as planted, whose p is at most 0.05; nan where there is none.
    """

    right: float
    false: float
    strangers: float
    low: float


def by_strength(seeds: int, seed: int, size: int = _SIZE, d_in: int = _D_IN) -> list[Figure]:
    """How many kinds are right, by how alike relatives are; one width and four times as many, and no relatives."""
    found: list[Figure] = []
    for spectrum, crowding in _SPECTRA.items():
        plans = {f"cosine {strength}": Fates.of(strength, size, crowding) for strength in _STRENGTHS}
        plans["cosine 0.8, four times as wide"] = wider(0.8, size // 4, crowding)
        plans["no relatives"] = Fates.unrelated(size, crowding)
        for name, fates in plans.items():
            outcomes = [outcome(fates, d_in, each) for each in range(seed, seed + seeds)]
            found += _figures(f"{spectrum}, {size:,} x {d_in}, {name}", outcomes, fates.one_to_one > 0)
    return [*found, *on_text(seed, size, d_in)]


def on_text(seed: int, size: int, d_in: int) -> Iterator[Figure]:
    """Containment and coverage where the parts of each family share its tokens out, and others fire on their own."""
    planted = planted_relations(Fates.of(_ON_TEXT, size), d_in, seed)
    source, target = (Active.of(side.float()) for side in planted_activity(planted, _TOKENS, seed))
    activity = PairedActivity(planted.source.d_sae, planted.target.d_sae)
    activity.add(source, target, torch.arange(_TOKENS) // _TOKENS_OF_DOCUMENT)
    found = overlap(related(planted.source, planted.target, seed), activity, dataset="planted")
    case = f"crowded, {size:,} x {d_in}, cosine {_ON_TEXT}, {_TOKENS:,} tokens"
    for name, means in (("containment", found.mean_containment), ("coverage", found.mean_coverage)):
        for kind, mean in means.items():
            yield Figure(case, f"{name}, {kind} (planted: 1)", mean.share.value, "")
            yield Figure(
                case, f"{name}, {kind}, of random features (planted: as often as they fire)", mean.control.value, ""
            )


def wider(strength: float, size: int, crowding: float) -> Fates:
    """A dictionary and one four times as wide, in which half of the features split and many are new."""
    return Fates(strength, size // 4, size // 2, 0, size // 4, 2 * size, crowding)


def outcome(fates: Fates, d_in: int, seed: int) -> Outcome:
    """What comes out on the dictionaries of a seed."""
    planted = planted_relations(fates, d_in, seed)
    found = related(planted.source, planted.target, seed)
    true = torch.cat([planted.source_kind, planted.target_kind])
    called = torch.cat([found.source_kind, found.target_kind])
    p = torch.cat([found.source_p, found.target_p])
    alone = true >= APPEAR
    edges = found.edges
    strangers = planted.source_family[edges.source] != planted.target_family[edges.target]
    strangers |= planted.source_family[edges.source] < 0
    return Outcome(
        right=_share(called == true),
        false=_share((called != true)[called < APPEAR], nothing=0.0),
        strangers=_share(strangers, nothing=0.0),
        low=_share(p[alone] <= _ALPHA),
    )


def cost(n_source: int, n_target: int, d_in: int, seed: int) -> list[Figure]:
    """Time and memory of relations, beside the time of the matching that they rest on."""
    small, other, _ = planted_saes(8, 64)
    # Compiles the loops, which is no part of a figure.
    related(small, other, 0)
    source, target, _ = planted_saes(d_in, n_source, n_target, seed=seed)
    start = time.perf_counter()
    matching = match(source, target)
    matched = time.perf_counter() - start
    judged = _unjudged(matching, n_source)
    start = time.perf_counter()
    found = relations(source, target, matching, judged)
    taken = time.perf_counter() - start
    case = f"{n_source:,} x {n_target:,}, d = {d_in:,}"
    return [
        Figure(case, f"relations, {taken:.3g} s, over match(), {matched:.3g} s", taken / matched, "x", _TIMES),
        Figure(case, "peak memory", peak_gigabytes(), "GB", _MEMORY),
        Figure(case, "share of source features with a relative", _share(found.source_kind < APPEAR), ""),
    ]


def _unjudged(matching: Matching, n_source: int) -> Significance:
    """What says how relations are to judge, and nothing of the matching's pairs, which plays no part in them."""
    nothing = torch.full((n_source,), math.nan, dtype=torch.float64)
    evidence = NullEvidence("second_moment", "mean", _ROTATIONS, 0, (), 0, 0.0, ())
    return Significance(matching, nothing, nothing, nothing, torch.zeros(n_source, dtype=torch.bool), evidence)


def _figures(case: str, outcomes: list[Outcome], related_ones: bool) -> Iterator[Figure]:
    means = {
        field.name: sum(getattr(each, field.name) for each in outcomes) / len(outcomes) for field in fields(Outcome)
    }
    seeds = f"{len(outcomes)} seeds"
    yield Figure(case, f"kinds that are right ({seeds})", means["right"], "", _RIGHT, at_least=True)
    if related_ones:
        yield Figure(case, "of the features with a relative, as found, of another kind", means["false"], "", _FALSE)
        yield Figure(case, "of the edges, between strangers", means["strangers"], "", _FALSE)
        yield Figure(case, "of the features without a relative, p <= 0.05", means["low"], "")
        return
    yield Figure(case, "of the features without a relative, p <= 0.05", means["low"], "", _ALPHA + _OFF)
    yield Figure(case, "… as above, at least", means["low"], "", _ALPHA - _OFF, at_least=True)


def _share(of: Tensor, nothing: float = math.nan) -> float:
    return float(of.double().mean()) if len(of) else nothing
