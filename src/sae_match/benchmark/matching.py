"""What the matching should reach: exactness, speed, memory and growth, on planted and on real dictionaries."""

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from scipy.optimize import linear_sum_assignment

from sae_match import bundled
from sae_match.benchmark.measuring import Case, Figure, float32_pass_seconds, peak_gigabytes
from sae_match.benchmark.planted import alike, planted_saes
from sae_match.matching.cost import TERMS, FeatureVectors, feature_vectors, term_weights
from sae_match.matching.matching import match
from sae_match.matching.result import Matching
from sae_match.matching.solver.centre import about_centre, cost_matrix
from sae_match.matching.solver.classes import Classes
from sae_match.matching.solver.planning import Solver, planned
from sae_match.matching.solver.pricing import DensePricer
from sae_match.matching.solver.rounds import Rounds
from sae_match.saes.formats import gemma_scope
from sae_match.saes.sae import SAE

_SOLVERS: tuple[Solver, ...] = ("dense", "sparse")
_BUNDLED_LAYERS = 8
_GAP = 1e-6
# Most that the choice between dense and sparse may cost.
_CHOICE = 1.5
_SIZES = (64, 256, 1024, 4096)
# Where dense and sparse are compared: widths of activations, and features of both sides.
_SMALL_D_IN, _SMALL = (64, 512, 2304), (256, 512, 1024, 2048, 4096)
_REPEATS = 5
# Where half of the features are equal: features, width of activations, repeats, and most times as long as without.
_EQUAL_SIZES, _EQUAL_D_IN, _EQUAL_REPEATS, _EQUAL_MOST = (4096, 16_384), 64, 2, 3
_GROWTH, _GROWTH_D_IN = {"16k": 16_384, "32k": 32_768, "65k": 65_536, "131k": 131_072}, 512
# Close to two and one: the assignment among candidates grows a little faster than their number.
_QUADRATIC, _LINEAR = 2.1, 1.1


def cases(seed: int) -> dict[str, Case]:
    """The cases by name, each to be run in a process of its own."""
    return {
        "exact": partial(exactness, seed),
        "scipy_8k": partial(against_scipy, 8192, 2304, 100, seed),
        "bundled": bundled_pairs,
        "small": partial(dense_against_sparse, seed),
        "equal": partial(equal_features, seed),
        "16k": partial(planted, 16_384, 2304, ratio=1.5, memory=3, seconds=2, seed=seed),
        "65k": partial(planted, 65_536, 2304, ratio=2, memory=12, seconds=15, seed=seed),
        **{
            f"{name}_narrow": partial(
                planted, size, _GROWTH_D_IN, memory=12, seconds=60 if name == "131k" else math.nan, seed=seed
            )
            for name, size in _GROWTH.items()
        },
    }


def exactness(seed: int) -> list[Figure]:
    """Cost against scipy's optimum: every solver, square and rectangular."""
    return [
        Figure(
            f"{rows:,} x {columns:,}",
            f"cost of {solver} against scipy, relative",
            _off_from_scipy(rows, columns, solver, seed),
            "",
            1e-9,
        )
        for size in _SIZES
        for rows, columns in ((size, size), (size // 4, size), (size, size // 4))
        for solver in _SOLVERS
    ]


def against_scipy(d_sae: int, d_in: int, reach: float, seed: int) -> list[Figure]:
    """Time of an assignment, its certificate included, against scipy's, the same costs given to both."""
    compile_loops()
    source, target = _planted_vectors(d_in, d_sae, seed)
    rounds = Rounds(Classes.single(source), Classes.single(target), pricers=[partial(DensePricer, source, target)])
    start = time.perf_counter()
    solution = rounds.first(_silent)
    while solution.gap > _GAP:
        solution = rounds.next(solution, _silent)
    ours = time.perf_counter() - start
    costs = cost_matrix(*about_centre(source, target)).numpy()
    start = time.perf_counter()
    rows, columns = linear_sum_assignment(costs)
    theirs = time.perf_counter() - start
    optimum = math.fsum(costs[rows, columns])
    case = f"{d_sae:,} x {d_sae:,}, costs given"
    return [
        Figure(case, "times faster than scipy", theirs / ours, "", reach, at_least=True),
        Figure(case, "scipy", theirs, "s"),
        Figure(case, "assignment and certificate", ours, "s"),
        Figure(case, "cost against scipy, relative", abs(solution.objective - optimum) / optimum, "", 1e-9),
    ]


def bundled_pairs() -> list[Figure]:
    """All adjacent pairs of the bundled SAEs, by both solvers."""
    compile_loops()
    pairs, figures = _bundled_pairs(), []
    for solver in _SOLVERS:
        start = time.perf_counter()
        found = [match(source, target, solver=solver) for source, target in pairs]
        seconds = time.perf_counter() - start
        case = f"bundled SAEs, {len(found)} adjacent pairs, {solver}"
        figures += [
            Figure(case, "largest relative gap", max(matching.gap for matching in found), "", _GAP),
            Figure(case, "whole match()", seconds / len(found), "s a pair"),
        ]
    return figures


def dense_against_sparse(seed: int) -> list[Figure]:
    """Time of the dense solver over that of the sparse one, and how far the choice between them is from the faster."""
    compile_loops()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    figures, worst = [], 1.0
    for d_in in _SMALL_D_IN:
        for size in _SMALL:
            source, target, _ = planted_saes(d_in, size, seed=seed)
            seconds = _fastest(source, target)
            case = f"{size:,} x {size:,}, d = {d_in:,}"
            figures.append(Figure(case, "dense / sparse, whole match()", seconds["dense"] / seconds["sparse"], "x"))
            chosen = planned(
                size, size, 2 * d_in + 1, solver="auto", precision="auto", memory=None, device=device
            ).solver
            worst = max(worst, seconds[chosen] / min(seconds.values()))
    case = f"{_SMALL[0]:,} to {_SMALL[-1]:,} features"
    return [*figures, Figure(case, "chosen solver / faster solver, at worst", worst, "x", _CHOICE)]


def equal_features(seed: int) -> list[Figure]:
    """Time of the sparse solver where half of the features of a side are all the same, over that without."""
    few = alike(planted_saes(8, 64)[0], 32)
    match(few, few, solver="sparse")
    figures = []
    for size in _EQUAL_SIZES:
        source, target, _ = planted_saes(_EQUAL_D_IN, size, seed=seed)
        dead, gone = (alike(sae, size // 2) for sae in (source, target))
        problems = {"none": (source, target), "both sides": (dead, gone), "source": (dead, target)}
        seconds, gap = dict.fromkeys(problems, math.inf), 0.0
        for _ in range(_EQUAL_REPEATS):
            for name, sides in problems.items():
                start = time.perf_counter()
                gap = max(gap, match(*sides, solver="sparse").gap)
                seconds[name] = min(seconds[name], time.perf_counter() - start)
        case = f"{size:,} x {size:,}, d = {_EQUAL_D_IN}"
        figures += [
            Figure(case, f"half of {side} equal / none", seconds[side] / seconds["none"], "x", _EQUAL_MOST)
            for side in ("both sides", "source")
        ]
        figures.append(Figure(case, "largest relative gap", gap, "", _GAP))
    return figures


def planted(
    d_sae: int, d_in: int, *, ratio: float = math.nan, memory: float = math.nan, seconds: float = math.nan, seed: int
) -> list[Figure]:
    """`match` from SAEs to certified matching, against one float32 pass over the costs."""
    compile_loops()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source, target, relative = planted_saes(d_in, d_sae, seed=seed)
    width = 2 * d_in + 1
    before = float32_pass_seconds(d_sae, d_sae, width, device)
    start = time.perf_counter()
    found = match(source, target)
    taken = time.perf_counter() - start
    peak = peak_gigabytes()
    one_pass = (before + float32_pass_seconds(d_sae, d_sae, width, device)) / 2
    case = f"{d_sae:,} x {d_sae:,}, d = {d_in:,}" + (", CUDA" if device.type == "cuda" else "")
    on_cpu = device.type == "cpu"
    return [
        Figure(case, "relative gap", found.gap, "", _GAP),
        Figure(case, "whole match()", taken, "s", math.nan if on_cpu else seconds),
        Figure(case, "one float32 pass over the costs", one_pass, "s"),
        Figure(case, "match() / float32 pass", taken / one_pass, "x", ratio if on_cpu else math.nan),
        Figure(case, "peak memory, SAEs included", peak, "GB", memory if on_cpu else math.nan),
        *_evidence(case, found, d_sae, relative),
    ]


def growth(figures: Sequence[Figure]) -> list[Figure]:
    """How time and memory grow with the width, from the smallest to the largest that was measured at `d = 512`."""
    derived, sizes = [], list(_GROWTH.values())
    for what, name, reach in (
        ("whole match()", "time grows as width to the power of", _QUADRATIC),
        ("peak memory, SAEs included", "memory grows as width to the power of", _LINEAR),
    ):
        values = [figure.value for figure in figures if figure.what == what and f"d = {_GROWTH_D_IN}" in figure.case]
        if len(values) == len(sizes):
            power = math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])
            derived.append(Figure(f"{sizes[0]:,} to {sizes[-1]:,}, d = {_GROWTH_D_IN}", name, power, "", reach))
    return derived


def _evidence(case: str, found: Matching, d_sae: int, relative: torch.Tensor) -> Iterator[Figure]:
    if found.evidence is None:
        return
    has_relative = relative >= 0
    recovered = (found.permutation == relative)[has_relative].float().mean()
    yield Figure(case, "passes, counted by pairs priced", found.evidence.pairs_priced / d_sae**2, "")
    yield Figure(case, "planted pairs found again", float(recovered), "")


def _fastest(source: SAE, target: SAE) -> dict[str, float]:
    """Shortest time of each solver; they take turns, so that what slows one slows the other."""
    seconds: dict[str, float] = dict.fromkeys(_SOLVERS, math.inf)
    for _ in range(_REPEATS):
        for solver in _SOLVERS:
            start = time.perf_counter()
            match(source, target, solver=solver)
            seconds[solver] = min(seconds[solver], time.perf_counter() - start)
    return seconds


def _off_from_scipy(rows: int, columns: int, solver: Solver, seed: int) -> float:
    source, target, _ = planted_saes(64, rows, columns, seed=seed)
    found = match(source, target, solver=solver, precision="bfloat16" if solver == "sparse" else "auto")
    weights = term_weights(TERMS)
    sides = [feature_vectors(sae, fold="threshold", terms=weights, metric="mse") for sae in (source, target)]
    costs = cost_matrix(*about_centre(*sides)).numpy()
    at = linear_sum_assignment(costs)
    optimum = math.fsum(costs[at])
    return abs(found.cost - optimum) / optimum


def _planted_vectors(d_in: int, d_sae: int, seed: int) -> tuple[FeatureVectors, FeatureVectors]:
    weights = term_weights(TERMS)
    source, target, _ = planted_saes(d_in, d_sae, seed=seed)
    return (
        feature_vectors(source, fold="threshold", terms=weights, metric="mse"),
        feature_vectors(target, fold="threshold", terms=weights, metric="mse"),
    )


def _bundled_pairs() -> list[tuple[SAE, SAE]]:
    folder = bundled.path("saes")
    saes = [
        gemma_scope.load(folder, layer=layer, **gemma_scope.only_one(folder, layer, 1024))
        for layer in range(_BUNDLED_LAYERS)
    ]
    return list(pairwise(saes))


def compile_loops() -> None:
    """Compile the loops, or load them: that happens once on a machine, and is no part of a figure."""
    source, target, _ = planted_saes(8, 64)
    match(source, target)


def _silent(_: float) -> None:
    """Nobody watches."""
