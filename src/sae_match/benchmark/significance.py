"""What significance should reach: calibration, the bundled SAEs' shares, chains, samples of rows, time and memory."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch

from sae_match import bundled
from sae_match.benchmark.calibration import ALPHA, calibration
from sae_match.benchmark.measuring import HELD_ONLY, Case, Figure, in_own_process, peak_gigabytes
from sae_match.benchmark.planted import planted_saes
from sae_match.benchmark.planted_chain import Layer, Plan, planted_chain
from sae_match.matching.matching import match
from sae_match.matching.significance.composed import composed_significance, path_significance
from sae_match.matching.significance.result import Significance
from sae_match.matching.significance.settings import NULLS
from sae_match.matching.significance.significance import significance
from sae_match.saes.formats import gemma_scope

# What a significance with eight rotations may take: so many matchings' time, and so much of one's peak memory.
_MATCHINGS, _MEMORY = 10.0, 1.1
_Made = TypeVar("_Made")
_BUNDLED_LAYERS = 8
_SEEDS = 8


def cases(seeds: int, seed: int, kept: Path) -> dict[str, Case]:
    """The cases by name, each to be run in a process of its own.

    Args:
        seeds: How many dictionaries of each kind are calibrated on.
        seed: The first of them, and of what else is planted.
        kept: Folder that keeps each seed that is finished.
    """
    return {
        "significance": partial(calibration, seeds, seed, kept),
        "significance_bundled": bundled_shares,
        "significance_chains": partial(chains, seed),
        "significance_rows": partial(samples, seed),
        "significance_16k": partial(cost, 16_384, 2304, seed),
    }


def bundled_shares() -> list[Figure]:
    """Shares of the bundled SAEs' features that are significant, layer by layer and from the first to the last."""
    folder, layers = bundled.path("saes"), range(_BUNDLED_LAYERS)
    saes = [gemma_scope.load(folder, layer=layer, **gemma_scope.only_one(folder, layer, 1024)) for layer in layers]
    found = []
    for source, target in [*pairwise(layers), (0, _BUNDLED_LAYERS - 1)]:
        matching = match(saes[source], saes[target])
        for null in NULLS:
            judged = significance(saes[source], saes[target], matching, null=null)
            case = f"bundled SAEs, {source} -> {target}; {null}"
            found += [
                Figure(case, "share with q <= 0.05", judged.share, ""),
                Figure(case, "Storey's share", judged.storey, ""),
                Figure(case, "smallest significant statistic", judged.cut(ALPHA), ""),
            ]
    return found


def chains(seed: int) -> list[Figure]:
    """How many of a chain's significant pairs do not go all the way, by what is taken for random."""
    found = []
    for new in (0.2, 0.5):
        judged: dict[str, list[tuple[float, float]]] = {}
        for each in range(seed, seed + _SEEDS):
            layers = planted_chain(Plan(new), 64, 512, layers=3, seed=each)
            for name, significant in _judged_chain(layers, each).items():
                judged.setdefault(name, []).append(_wrong_and_found(significant, layers[0], layers[-1]))
        for name, pairs in judged.items():
            case = f"3 layers, 512 x 64, {new:.0%} new in each; {name}"
            wrong, kept = torch.tensor(pairs, dtype=torch.float64).mean(0).tolist()
            found.append(Figure(case, f"of the picked, wrong ({_SEEDS} seeds)", wrong, ""))
            found.append(Figure(case, "of the composition's right pairs, picked", kept, ""))
    return found


def samples(seed: int) -> list[Figure]:
    """What a sample of rows changes: the share, and p-values where nothing matches."""
    found = []
    for rows in (None, 256, 64):
        shares: list[float] = []
        low: list[float] = []
        for each in range(seed, seed + _SEEDS):
            for new, values in ((0.5, shares), (1.0, low)):
                source, target = planted_chain(Plan(new), 128, 1024, seed=each)
                judged = significance(source.sae, target.sae, match(source.sae, target.sae), rows=rows, seed=each)
                values.append(judged.share if new < 1 else float((judged.p <= ALPHA).double().mean()))
        case = f"crowded, 1,024 x 128; {'all' if rows is None else rows} rows"
        found.append(Figure(case, f"half matches: share with q <= 0.05 ({_SEEDS} seeds)", sum(shares) / _SEEDS, ""))
        found.append(Figure(case, "nothing matches: share with p <= 0.05", sum(low) / _SEEDS, ""))
    return found


def cost(d_sae: int, d_in: int, seed: int) -> list[Figure]:
    """Time and memory of a significance, beside those of the matching that it judges."""
    case = f"{d_sae:,} x {d_sae:,}, d = {d_in:,}"
    # First: a process begins with the peak of the one that starts it.
    memory = in_own_process(partial(_memory, case, d_sae, d_in, seed), HELD_ONLY)
    small, other, _ = planted_saes(8, 64)
    # Compiles the loops, which is no part of a figure.
    match(small, other)
    source, target, _ = planted_saes(d_in, d_sae, seed=seed)
    before, matching = _timed(lambda: match(source, target))
    taken, judged = _timed(lambda: significance(source, target, matching))
    # Before and after: what else the machine does meanwhile is the same for both sides.
    matched = (before + _timed(lambda: match(source, target))[0]) / 2
    what = f"significance, {judged.evidence.rotations} rotations, {taken:.3g} s, over match(), {matched:.3g} s"
    return [
        Figure(case, what, taken / matched, "x", _MATCHINGS),
        *memory,
        Figure(case, "share with q <= 0.05", judged.share, ""),
    ]


def _timed(work: Callable[[], _Made]) -> tuple[float, _Made]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def _memory(case: str, d_sae: int, d_in: int, seed: int) -> list[Figure]:
    """Peak memory with so many random targets that the last one starts from what another has left."""
    source, target, _ = planted_saes(d_in, d_sae, seed=seed)
    matching = match(source, target)
    memory = peak_gigabytes()
    significance(source, target, matching, rotations=2)
    what = f"peak memory over that of match(), {memory:.3g} GB; freed blocks given back at once"
    return [Figure(case, what, peak_gigabytes() / memory, "x", _MEMORY)]


def _judged_chain(layers: Sequence[Layer], seed: int) -> dict[str, Significance]:
    saes = [layer.sae for layer in layers]
    matchings = [match(*pair) for pair in pairwise(saes)]
    links = [significance(*pair, matching, seed=seed) for pair, matching in zip(pairwise(saes), matchings, strict=True)]
    return {
        "each link in turn random": composed_significance(saes, matchings, links="each", seed=seed),
        "all links random": composed_significance(saes, matchings, links="all", seed=seed),
        "the worst link": path_significance(links),
    }


def _wrong_and_found(judged: Significance, first: Layer, last: Layer) -> tuple[float, float]:
    permutation, picked = judged.matching.permutation, judged.q <= ALPHA
    right = (first.who == last.who[permutation.clamp_min(0)]) & (permutation >= 0)
    wrong = float((~right)[picked].double().mean()) if picked.any() else 0.0
    return wrong, float(picked[right].double().mean())
