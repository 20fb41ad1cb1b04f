"""Relations of two dictionaries, with all that they rest on."""

from sae_match.matching.matching import match
from sae_match.matching.relations.relations import relations
from sae_match.matching.relations.result import Relations
from sae_match.matching.significance.significance import significance
from sae_match.saes.sae import SAE


def related(source: SAE, target: SAE, seed: int) -> Relations:
    """Relations of two dictionaries, matched and judged on the way."""
    matching = match(source, target)
    return relations(source, target, matching, significance(source, target, matching, seed=seed))
