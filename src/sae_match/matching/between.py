"""Matchings between two collections: which SAE of one goes to which of the other, and what is left over."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sae_match.errors import UserError
from sae_match.files import write_rows
from sae_match.matching.layers import Pair, by_target
from sae_match.matching.matching import match
from sae_match.matching.result import Matching
from sae_match.saes.collection import SAECollection
from sae_match.saes.sae import SAE
from sae_match.saes.two import Collections, TwoCollections

#: Name of the table of features without a partner in a run's folder.
UNMATCHED_FILE = "unmatched.csv"
#: Its columns.
UNMATCHED = ("source_layer", "target_layer", "source_collection", "target_collection", "side", "feature")


def match_collections(
    source: SAECollection, target: SAECollection, *, pairs: Iterable[Pair] | None = None, **settings: Any
) -> dict[Pair, Matching]:
    """Match the SAEs of two collections of one model: seeds, widths, training sets of the same places.

    Two SAEs are in memory at a time.

    Args:
        source: The collection whose features are sent.
        target: The one that receives them; another one.
        pairs: Source layer and target layer of each pair; by default the layers that both have, each with itself.
        settings: Of `match`: `fold`, `terms`, `metric` and so on.

    Returns:
        The matching of each pair of layers, in ascending order.

    Raises:
        UserError: If the collections are the same or read different sites, a layer has no SAE, or two SAEs cannot be
            matched.
    """
    both = TwoCollections(source, target)
    found: dict[Pair, Matching] = {}
    opened: dict[int, SAE] = {}
    for pair in by_target(both.chosen(pairs)):
        ends = both.ends(pair)
        # Dropped before the next is opened, so that there are never three.
        opened = {end: sae for end, sae in opened.items() if end in ends}
        for end in ends:
            if end not in opened:
                opened[end] = both.open(end)
        try:
            found[pair] = match(opened[ends[0]], opened[ends[1]], **settings)
        except UserError as error:
            told = " and ".join(f"layer {both.end_name(end)} ({both.describe(end)})" for end in ends)
            raise UserError(f"{told}: {error}") from error
    return dict(sorted(found.items()))


def save_unmatched(
    matchings: Mapping[Pair, Matching], widths: Mapping[int, int], collection: Collections, path: Path
) -> bool:
    """Write the features that have no partner, of pairs of SAEs of unlike width; returns whether there is such a pair.

    Args:
        matchings: Of pairs of layers.
        widths: Features of each SAE, by its end.
        collection: Where they come from.
        path: The file; not written where no two widths are unlike.
    """
    ends = {pair: collection.ends(pair) for pair in sorted(matchings)}
    unlike = [pair for pair, (source, target) in ends.items() if widths[source] != widths[target]]
    if unlike:
        names = collection.names or ("", "")
        rows = (row for pair in unlike for row in _unmatched(pair, matchings[pair], widths[ends[pair][1]], names))
        write_rows(path, rows, UNMATCHED)
    return bool(unlike)


def _unmatched(
    pair: Pair, matching: Matching, n_target: int, names: Sequence[str]
) -> Iterator[Mapping[str, int | str]]:
    partner = matching.permutation
    left = {"source": partner < 0, "target": torch.ones(n_target, dtype=torch.bool)}
    left["target"][partner[partner >= 0]] = False
    for side, alone in left.items():
        for feature in alone.nonzero().flatten().tolist():
            yield dict(zip(UNMATCHED, (*pair, *names, side, feature), strict=True))
