"""How SAEs are matched, as settings, and what of it cannot be."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Literal

from sae_match.errors import UserError
from sae_match.saes.settings import refuse_unknown_fold

Term = Literal["W_enc", "b_enc", "W_dec"]
Metric = Literal["mse", "cosine"]
Solver = Literal["auto", "dense", "sparse"]
TERMS: tuple[Term, ...] = ("W_enc", "b_enc", "W_dec")
METRICS: tuple[Metric, ...] = ("mse", "cosine")
#: Features that take no part.
MASKS = ("none", "dead")
#: Of the sparse solver's passes, the coarsest first.
PRECISION_NAMES = ("bfloat16", "float32", "float64")


@dataclass
class MatcherSettings:
    """The arguments of `match`, as a value that can be configured, compared and hashed.

    Attributes:
        fold: `threshold`, `decoder_norm` or `none`.
        terms: Weight of each of `W_enc`, `b_enc`, `W_dec`; a term of weight zero plays no part.
        metric: `mse` (squared distance) or `cosine`.
        rejection_cost: A pair survives only if it costs less; none by default.
        tolerance: Relative gap between cost and bound that is good enough.
        solver: `auto`, `dense` or `sparse`.
        memory: Budget in gigabytes of what the solver adds; by default a share of what is free.
        device: `cpu`, `cuda`, …, or `auto`: a GPU where there is one.
        precision: Of the sparse solver's first passes: `auto`, `bfloat16`, `float32` or `float64`.
        mask: `none`, or `dead`: features take no part whose decoder row or encoder column is zero, or whose threshold
            is not positive.
    """

    fold: str = "threshold"
    terms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TERMS, 1.0))
    metric: str = "mse"
    rejection_cost: float | None = None
    tolerance: float = 1e-6
    solver: str = "auto"
    memory: float | None = None
    device: str = "auto"
    precision: str = "auto"
    mask: str = "none"

    def __post_init__(self) -> None:
        refuse_unknown_fold(self.fold, "matcher.fold")
        with _named("matcher.terms"):
            term_weights(self.terms)
        with _named("matcher.metric"):
            refuse_unknown_metric(self.metric)
        with _named("matcher"):
            refuse_impossible_bounds(self.rejection_cost, self.tolerance)
            refuse_unknown_means(self.solver, self.precision, self.memory)
        if self.mask not in MASKS:
            raise UserError(f"matcher.mask: unknown mask {self.mask!r}; there are {', '.join(MASKS)}")

    def identity(self) -> dict[str, object]:
        """What the matching depends on; the other settings only change how it is found."""
        means = ["solver", "memory", "device", "precision", *(["mask"] if self.mask == "none" else [])]
        return {name: value for name, value in asdict(self).items() if name not in means}


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Say of which setting an error speaks."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{setting}: {error}") from error


def term_weights(terms: Sequence[str] | Mapping[str, float]) -> dict[Term, float]:
    """Weights by term, in a fixed order; a plain sequence of terms, or one term, means weight one each.

    Raises:
        UserError: If a term is unknown, none has weight, or a weight is negative or not finite.
    """
    several = [terms] if isinstance(terms, str) else terms
    given = dict(several) if isinstance(several, Mapping) else dict.fromkeys(several, 1.0)
    for name, weight in given.items():
        if name not in TERMS:
            raise UserError(f"unknown term {name!r}; there are {', '.join(TERMS)}")
        if not isinstance(weight, int | float) or not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"the weight of {name} must be finite and not negative, got {weight!r}")
    weights = {term: float(given[term]) for term in TERMS if given.get(term, 0.0) > 0}
    if not weights:
        raise UserError(f"no term to match by; choose among {', '.join(TERMS)}")
    return weights


def said_terms(weights: Mapping[Term, float]) -> str:
    """Weights as a provenance says them, such as `W_enc=1 W_dec=0.5`: short, and with all their digits."""
    short = {name: f"{weight:g}" for name, weight in weights.items()}
    return " ".join(f"{name}={said if float(said) == weights[name] else weights[name]}" for name, said in short.items())


def refuse_unknown_metric(metric: str) -> None:
    """Refuse a metric that there is not.

    Raises:
        UserError: If it is one.
    """
    if metric not in METRICS:
        raise UserError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")


def refuse_impossible_bounds(rejection_cost: float | None, tolerance: float) -> None:
    """Refuse a price of no partner, or a relative gap, that cannot be.

    Raises:
        UserError: If one cannot be.
    """
    if rejection_cost is not None and not (math.isfinite(rejection_cost) and rejection_cost >= 0):
        raise UserError(f"the rejection cost must be finite and not negative, got {rejection_cost}")
    if not 0 <= tolerance < 1:
        raise UserError(f"the tolerance must be at least 0 and below 1, got {tolerance}")


def refuse_unknown_means(solver: str, precision: str, memory: float | None) -> None:
    """Look at choices that do not depend on the problem.

    Raises:
        UserError: If one does not exist.
    """
    if solver not in ("auto", "dense", "sparse"):
        raise UserError(f"no solver {solver!r}; use 'dense', 'sparse' or 'auto'")
    if precision != "auto" and precision not in PRECISION_NAMES:
        raise UserError(f"unknown precision {precision!r}; there are auto, {', '.join(PRECISION_NAMES)}")
    if memory is not None and not memory > 0:
        raise UserError(f"the memory budget must be positive, got {memory} GB")
