"""Pictures of a finished validation, a module each, with the numbers that they show."""

from collections.abc import Callable, Iterator
from functools import partial

from sae_match.report.drawing import METRIC_LABELS
from sae_match.report.picture import Drawings, Picture
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.pictures.agreement import metric_agreement
from sae_match.report.validation.pictures.causal import causal
from sae_match.report.validation.pictures.costs import pair_error
from sae_match.report.validation.pictures.drift import drift
from sae_match.report.validation.pictures.folding import folding_error
from sae_match.report.validation.pictures.metrics import metric_pictures
from sae_match.report.validation.pictures.paths import paths
from sae_match.report.validation.pictures.persistence import persistence
from sae_match.report.validation.pictures.provenance import provenance
from sae_match.report.validation.pictures.quantiles import quantiles
from sae_match.report.validation.pictures.relations import relations
from sae_match.report.validation.pictures.scales import threshold_scale
from sae_match.report.validation.pictures.significance import coactivation_by_q, significance

#: Each gives its picture of a run that has the numbers for it, else nothing.
PICTURES: tuple[Callable[[Outcome], Iterator[Picture]], ...] = (
    threshold_scale,
    folding_error,
    pair_error,
    quantiles,
    persistence,
    paths,
    metric_agreement,
    significance,
    coactivation_by_q,
    relations,
    drift,
    causal,
    provenance,
)


def drawings(outcome: Outcome) -> Drawings:
    """What draws the pictures of a run, each on its own."""
    for metric in METRIC_LABELS:
        yield metric, partial(metric_pictures, outcome.results, outcome.spans, [metric])
    for draw in PICTURES:
        yield draw.__name__, partial(draw, outcome)


def all_pictures(outcome: Outcome) -> Iterator[Picture]:
    """Every picture that a run has the numbers for."""
    for _, draw in drawings(outcome):
        yield from draw()
