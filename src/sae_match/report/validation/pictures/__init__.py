"""Pictures of a finished validation, a module each, with the numbers that they show."""

from collections.abc import Callable, Iterator

from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.pictures.agreement import metric_agreement
from sae_match.report.validation.pictures.costs import pair_error
from sae_match.report.validation.pictures.folding import folding_error
from sae_match.report.validation.pictures.metrics import metric_pictures
from sae_match.report.validation.pictures.paths import paths
from sae_match.report.validation.pictures.persistence import persistence
from sae_match.report.validation.pictures.quantiles import quantiles
from sae_match.report.validation.pictures.scales import threshold_scale

#: Each gives its picture of a run that has the numbers for it, else nothing.
PICTURES: tuple[Callable[[Outcome], Iterator[Picture]], ...] = (
    threshold_scale,
    folding_error,
    pair_error,
    quantiles,
    persistence,
    paths,
    metric_agreement,
)


def all_pictures(outcome: Outcome) -> Iterator[Picture]:
    """Every picture that a run has the numbers for."""
    yield from metric_pictures(outcome.results, outcome.spans)
    for draw in PICTURES:
        yield from draw(outcome)
