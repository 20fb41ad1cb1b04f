"""One module a question: pictures of a finished validation, each with its numbers."""

from collections.abc import Callable, Iterator

from sae_match.report.picture import Picture
from sae_match.report.validation import figures
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.pictures.costs import pair_error
from sae_match.report.validation.pictures.folding import folding_error
from sae_match.report.validation.pictures.paths import paths
from sae_match.report.validation.pictures.persistence import persistence
from sae_match.report.validation.pictures.quantiles import quantiles
from sae_match.report.validation.pictures.scales import threshold_scale

#: Each gives the pictures that a run has the numbers for.
QUESTIONS: tuple[Callable[[Outcome], Iterator[Picture]], ...] = (
    threshold_scale,
    folding_error,
    pair_error,
    quantiles,
    persistence,
    paths,
)


def pictures(outcome: Outcome) -> Iterator[Picture]:
    """Every picture that a run has the numbers for."""
    yield from figures.pictures(outcome.results, outcome.spans)
    for question in QUESTIONS:
        yield from question(outcome)
