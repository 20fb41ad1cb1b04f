"""Files of what the data-free step has found."""

from pathlib import Path

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.matching.layers import save_matching, save_relations, save_significance, say_if_with_itself
from sae_match.saes.two import Collections


def save_found(pair: Pair, found: PairMatchings, folder: Path, collection: Collections) -> None:
    """Write the matching `matched` of a pair of layers, and what is known of it."""
    if MATCHED in found.matchings:
        save_matching(found.matchings[MATCHED], folder, pair, collection)
        say_if_with_itself(pair, found.matchings[MATCHED], collection)
    if found.judged is not None:
        save_significance(found.judged.significance, folder, pair, collection.names)
    if found.related is not None:
        save_relations(found.related, folder, pair, collection.names)
