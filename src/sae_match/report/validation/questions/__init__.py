"""One module a question: pictures of a finished validation, each with its numbers."""

from collections.abc import Callable, Iterator

from sae_match.report.pictures import Picture
from sae_match.report.validation import figures
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.questions.costs import pair_error
from sae_match.report.validation.questions.folding import folding_error
from sae_match.report.validation.questions.paths import paths
from sae_match.report.validation.questions.persistence import persistence
from sae_match.report.validation.questions.quantiles import quantiles
from sae_match.report.validation.questions.scales import threshold_scale

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
