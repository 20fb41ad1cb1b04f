"""What a validation would take, in words, by what is known before anything is loaded."""

from collections.abc import Iterator, Mapping
from typing import cast

import torch

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.plan import PassPlan, speed_of
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.settings import BY_PARTS, rows_of
from sae_match.matching.solver.planning import Solver, planned
from sae_match.model.description import ModelDescription
from sae_match.text.settings import TextSettings

# Passes over all pairs that a matching usually takes.
_PASSES = 4
# What a matching takes however small it is.
_LEAST_SECONDS = 0.1


def costs_of(
    model: ModelDescription,
    features: Mapping[int, int],
    matcher: MatcherSettings,
    text: TextSettings,
    plan: PassPlan,
    rotations: int,
    device: torch.device,
    d_in: int,
) -> Iterator[tuple[str, str]]:
    """Rows of what it takes."""
    pairs = plan.pairs
    tokens = text.documents * text.max_tokens * len(text.datasets)
    operations = plan.floating_point_operations(model, features, tokens)
    yield "pairs", f"{len(pairs)}, {several(len(plan.runs()), 'arm')} of them in all"
    each = f"{several(text.documents, 'document')} of {several(text.max_tokens, 'token')}"
    yield "tokens", f"{tokens:,} at most ({each} of each dataset)"
    forwards, heads = several(plan.layer_forwards, "layer-forward"), several(plan.heads, "head")
    yield "passes", f"{forwards} and {heads} for each token"
    judged = rotations if MATCHED in plan.arms else 0
    yield from costs_of_matching(len(pairs), max(features.values()), matcher, judged, device, d_in)
    dtype = torch.bfloat16 if model.bytes_per_parameter == 2 else torch.float32
    seconds = operations / speed_of(device, dtype)
    yield "validation", f"{_duration(seconds)} at the speed of bare matrix products on {device}"


def costs_of_matching(
    pairs: int, widest: int, matcher: MatcherSettings, rotations: int, device: torch.device, d_in: int
) -> Iterator[tuple[str, str]]:
    """Rows of what it takes to match pairs of layers, and to judge them; none without any.

    Args:
        pairs: Of layers.
        widest: Features of the widest dictionary.
        matcher: How they are matched.
        rotations: Random targets for each pair; zero: nothing is judged.
        device: Where.
        d_in: What the SAEs read.
    """
    if not pairs:
        return
    solver = planned(
        widest,
        widest,
        2 * d_in + 1,
        solver=cast(Solver, matcher.solver),
        precision=matcher.precision,
        memory=matcher.memory,
        device=device,
    )
    products = _PASSES * 2.0 * widest**2 * (2 * d_in) / speed_of(device, torch.bfloat16)
    matching = pairs * max(_LEAST_SECONDS, products)
    yield "matching", f"{_duration(matching)} for each kind that is not in the cache ({solver.solver} solver)"
    if rotations:
        yield "judging", judging_line(rotations, widest, matching)


def judging_line(rotations: int, features: int, matching: float) -> str:
    """What it takes to tell which pairs are matches.

    Args:
        rotations: Random targets for each pair of layers.
        features: Of the widest dictionary.
        matching: Seconds that one matching of every pair of layers takes.
    """
    rows = rows_of(features)
    share = 1.0 if rows is None else rows / features
    sampled = "" if rows is None else f", {rows:,} of {features:,} features for each"
    took = _duration((rotations * share + BY_PARTS) * matching)
    return (
        f"{took} more for what is not in the cache: {several(rotations, 'random target')} for each pair of layers"
        f"{sampled}, and {BY_PARTS} matchings by parts"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def several(number: int, what: str) -> str:
    """A number of things, in the plural where there are several."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
