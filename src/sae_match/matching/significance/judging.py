"""All that is known about the pairs of a matching, as programs ask for it: significance, and what stands beside it."""

from dataclasses import dataclass

from sae_match.matching.cache import MatchingCache
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.alternatives import Alternatives, alternatives
from sae_match.matching.significance.result import Significance
from sae_match.matching.significance.settings import rows_of
from sae_match.matching.significance.significance import significance
from sae_match.matching.solver.solving import Watch
from sae_match.saes.sae import SAE


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known about the pairs of a matching.

    Attributes:
        significance: Which of them are matches.
        beside: What else speaks for or against each.
    """

    significance: Significance
    beside: Alternatives


def judge(
    source: SAE,
    target: SAE,
    matching: Matching,
    rotations: int,
    *,
    settings: MatcherSettings,
    cache: MatchingCache,
    watch: Watch = lambda _: None,
) -> Judged:
    """Judge the pairs of a matching; costs `rotations` random targets, and two matchings by parts.

    Args:
        source: SAE that the matching starts from.
        target: SAE that it leads to.
        matching: Of these.
        rotations: Random targets.
        settings: How the matching was found.
        cache: Where the matchings that this takes are kept, so that it costs next to nothing the second time.
        watch: Told where the solution at hand stands, and what it is of.

    Raises:
        UserError: As `significance`.
    """
    return Judged(
        significance(
            source,
            target,
            matching,
            rotations=rotations,
            rows=rows_of(source.d_sae),
            settings=settings,
            cache=cache,
            watch_solver=watch,
        ),
        alternatives(source, target, matching, settings=settings, cache=cache, watch_solver=watch),
    )
