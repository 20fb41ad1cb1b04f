"""`match`: two SAEs in, the cheapest one-to-one matching of their features out."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.cost import TERMS, FeatureVectors, Metric, feature_vectors, term_weights
from sae_match.matching.result import TARGET_FEATURES, Matching, among_all, mask_notes
from sae_match.matching.settings import MatcherSettings, refuse_impossible_bounds, said_terms
from sae_match.matching.solver.pair_costs import pair_costs
from sae_match.matching.solver.planning import Solver, planned
from sae_match.matching.solver.solving import Watch, solve
from sae_match.matching.solver.starting import Prices
from sae_match.saes.folding import Fold, live_features
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch, refuse_coarse_products

__all__ = ["MatcherSettings", "Matching", "match"]


@plain_torch()
def match(
    source: SAE,
    target: SAE,
    *,
    fold: Fold = "threshold",
    terms: Sequence[str] | Mapping[str, float] = TERMS,
    metric: Metric = "mse",
    solver: Solver = "auto",
    rejection_cost: float | None = None,
    source_mask: Bool[Tensor, " n_source"] | None = None,
    target_mask: Bool[Tensor, " n_target"] | None = None,
    tolerance: float = 1e-6,
    memory: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    watch: Watch = lambda _: None,
    checkpoint: Path | None = None,
    prices: Prices | None = None,
) -> Matching:
    """Match features one-to-one at the smallest total cost (Eq. 3), exactly and with a certificate.

    Of two SAEs of different width the narrower is matched whole, and `-1` stands for no partner.

    Args:
        source: SAE whose features are sent.
        target: SAE that receives them; of the same `d_in`.
        fold: What both SAEs are folded by before they are compared (Eq. 4).
        terms: Parameters that are compared, or their weights.
        metric: `mse` is the squared distance of the folded parameters; `cosine` is one minus the
            cosine between them, all terms side by side.
        solver: `dense` holds the whole float64 cost matrix, `sparse` never does; `auto` chooses by
            width and memory. Both find the same optimum.
        rejection_cost: A pair survives only if it costs less: features of the narrower side may be
            left alone at this price.
        source_mask: Source features that take part, for instance those that are not dead.
        target_mask: Target features that take part.
        tolerance: Relative gap between cost and bound at which the sparse solver is content.
        memory: Budget in gigabytes for what the solver adds to what is in memory already.
        device: Where costs are computed: `cpu`, `cuda`, …; `auto` takes a GPU where there is one.
        precision: Of the sparse solver's first passes; `auto` takes the fastest this machine has.
            However coarse, the certificate accounts for it.
        watch: Told where the solution stands.
        checkpoint: File that keeps the last finished round, so that an interrupted solution goes on
            from there; it is removed in the end.
        prices: What the solution of a like problem has left, which makes this one quicker; what this one
            leaves replaces it.

    Returns:
        The matching. Its `lower_bound` is the value of a dual solution that is feasible for all
        pairs, rounding included.

    Raises:
        UserError: If the SAEs do not fit each other, cannot be folded, or are not finite, nothing is
            left to match, or the memory budget is too small.
    """
    began = time.perf_counter()
    _refuse_unfit(source, target, {"source": source_mask, "target": target_mask}, rejection_cost, tolerance)
    weights = term_weights(terms)
    where = device_named(device)
    sides = [
        feature_vectors(sae, fold=fold, terms=weights, metric=metric, keep=mask).to(where)
        for sae, mask in ((source, source_mask), (target, target_mask))
    ]
    _refuse_overflow(*sides)
    plan = planned(
        len(sides[0]),
        len(sides[1]),
        sides[0].width,
        solver=solver,
        precision=precision,
        memory=memory,
        device=where,
    )
    about = {
        "fold": fold,
        "terms": said_terms(weights),
        "metric": metric,
        "rejection_cost": str(rejection_cost),
    }
    if where.type == "cuda":
        refuse_coarse_products(where)
    prepared = time.perf_counter()
    # Hashing leaves the processor's other cores and the interpreter to the solution.
    with ThreadPoolExecutor(1) as aside:
        hashes = [aside.submit(sae.content_hash) for sae in (source, target)]
        solved = solve(
            sides[0],
            sides[1],
            plan,
            rejection_cost=math.inf if rejection_cost is None else rejection_cost,
            tolerance=tolerance,
            watch=watch,
            checkpoint=checkpoint,
            problem="" if checkpoint is None else _named(repr((about, weights)), hashes, (source_mask, target_mask)),
            prices=prices,
        )
    finished = time.perf_counter()
    permutation = torch.from_numpy(solved.permutation)
    costs = pair_costs(sides[0], sides[1], permutation.to(where))
    if rejection_cost is not None:
        # A pair at exactly that price is as cheap as none, and does not survive.
        permutation[costs >= rejection_cost] = -1
        costs[permutation < 0] = math.nan
    total = math.fsum(costs[permutation >= 0].tolist())
    left = min(len(side) for side in sides) - int((permutation >= 0).sum())
    alone = left * rejection_cost if rejection_cost is not None else 0.0
    found = Matching(
        permutation=permutation,
        pair_cost=costs,
        lower_bound=min(total, solved.lower_bound - alone),
        provenance={
            "solver": solved.evidence.solver,
            **about,
            "source": hashes[0].result(),
            "target": hashes[1].result(),
            TARGET_FEATURES: str(target.d_sae),
            **mask_notes(source_mask=source_mask, target_mask=target_mask),
        },
        evidence=replace(
            solved.evidence, seconds=solved.evidence.seconds + prepared - began + time.perf_counter() - finished
        ),
    )
    return among_all(found, source_mask, target_mask)


def masks_of(settings: MatcherSettings, *saes: SAE) -> list[Bool[Tensor, " d_sae"] | None]:
    """Features of each SAE that take part under the settings; none where all do."""
    live = [live_features(sae) if settings.mask == "dead" else None for sae in saes]
    return [None if mask is None or bool(mask.all()) else mask for mask in live]


def arguments_of(settings: MatcherSettings, source: SAE, target: SAE) -> dict[str, Any]:
    """The arguments of `match` that settings stand for, for two SAEs."""
    given = {name: value for name, value in asdict(settings).items() if name != "mask"}
    masks = zip(("source_mask", "target_mask"), masks_of(settings, source, target), strict=True)
    return {**given, **dict(masks)}


def _named(about: str, hashes: Sequence[Future[str]], masks: Sequence[Bool[Tensor, " _"] | None]) -> str:
    """Everything that makes a problem the one it is, as a hash."""
    digest = hashlib.sha256(json.dumps([about, [each.result() for each in hashes]], sort_keys=True).encode())
    for mask in masks:
        digest.update(b"all" if mask is None else mask.cpu().numpy().tobytes())
    return digest.hexdigest()


def device_named(name: str) -> torch.device:
    """Where costs are computed under a setting; `auto` takes a GPU where there is one.

    Raises:
        UserError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"matcher.device={name}: {str(error).splitlines()[0]}") from error


def _refuse_overflow(source: FeatureVectors, target: FeatureVectors) -> None:
    longest = float(source.squares.max().sqrt() + target.squares.max().sqrt())
    # Sums over all features, and differences of those.
    if not math.isfinite(8 * longest * longest * max(len(source), len(target))):
        raise UserError("the costs of pairs leave the range of float64 when they are added up; lower the weights")


def _refuse_unfit(
    source: SAE,
    target: SAE,
    masks: Mapping[str, Bool[Tensor, " _"] | None],
    rejection_cost: float | None,
    tolerance: float,
) -> None:
    if source.d_in != target.d_in:
        raise UserError(f"the source reads activations of width {source.d_in}, the target of width {target.d_in}")
    for sae, (side, mask) in zip((source, target), masks.items(), strict=True):
        if mask is None:
            continue
        if not isinstance(mask, Tensor):
            raise UserError(f"{side}_mask must be a tensor, bool [{sae.d_sae}], got {type(mask).__name__}")
        if mask.dtype != torch.bool or tuple(mask.shape) != (sae.d_sae,):
            raise UserError(f"{side}_mask must be bool [{sae.d_sae}], got {mask.dtype} {list(mask.shape)}")
        if not mask.any():
            raise UserError(f"{side}_mask leaves none of {sae.d_sae} features to match")
    refuse_impossible_bounds(rejection_cost, tolerance)
