"""Match the SAEs of pairs of layers, from the weights alone: no language model, no text."""

import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from sae_match.errors import UserError
from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import Chains, compare
from sae_match.matching.layers import LayerMatcher, Pair, by_target, save_matching, save_significance, unwatched
from sae_match.matching.result import Matching
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.matchings import (
    CompositionRow,
    MatchingRow,
    agreement_table,
    matching_table,
    save_rows,
    significance_table,
)
from sae_match.saes.collection import SAECollection
from sae_match.settings.match import ADJACENT, ALL, MatchSettings
from sae_match.terminal import Terminal, say

log = logging.getLogger(__name__)


def main(settings: MatchSettings) -> None:
    """Match the SAEs of pairs of layers, and leave matchings and their costs in the run's folder."""
    collection, folder, console = SAECollection.of(settings.sae), Path(settings.output_dir), Terminal()
    pairs = by_target(chosen_pairs(settings, collection))
    cache = MatchingCache(Path(settings.cache_dir).expanduser() if settings.cache_dir else None)
    progress = MatchingProgress(console, len(pairs))
    matcher = LayerMatcher(collection, settings.matcher, cache, progress.watch if settings.progress else unwatched)
    if settings.matcher.memory is not None:
        log.info("memory budget of a matching: %.3g GB", settings.matcher.memory)
    rows: list[MatchingRow] = []
    compared: list[CompositionRow] = []
    chains = Chains()
    with progress.shown():
        for pair in pairs:
            matching = matcher.match(pair)
            save_matching(matching, folder, pair, collection)
            judged = matcher.judged(pair, matching, settings.rotations) if settings.rotations else None
            if judged is not None:
                save_significance(judged, folder, pair)
            rows.append(MatchingRow.of(pair, matching, judged))
            # After each, so that an interrupted run leaves what it has found.
            save_rows(rows, folder / "matchings.csv")
            progress.done()
            log.info("layers %d and %d matched: cost %.6g, gap %.0e", *pair, matching.cost, matching.gap)
            if settings.compares:
                compared.append(_compared(pair, matching, chains, matcher))
                save_rows(compared, folder / "composition.csv")
    _report(console, rows, compared, folder)


def chosen_pairs(settings: MatchSettings, collection: SAECollection) -> list[Pair]:
    """The pairs of this run's shard.

    Raises:
        UserError: If there are none, or one is no pair of layers of the collection in ascending order.
    """
    pairs = _all_chosen(settings.pairs, collection)
    if not pairs:
        layers = ", ".join(map(str, sorted(collection.layers))) or "none"
        raise UserError(
            f"pairs={settings.pairs} chooses no pair in {collection.source}; layers with an SAE: {layers}; "
            f"{_remedy(collection)}"
        )
    mine = pairs[settings.shard :: settings.shards]
    if not mine:
        raise UserError(f"shard={settings.shard} of shards={settings.shards} has none of {len(pairs)} pairs")
    return mine


def _remedy(collection: SAECollection) -> str:
    """What would give a pair: other pairs of the layers there are, or another layer."""
    layers = sorted(collection.layers)
    if len(layers) > 1:
        return f"take pairs=all, or some of them as pairs=[[{layers[0]},{layers[1]}]]"
    # As the SAE that there is is named.
    which = ", ".join(f"{name}: {value}" for name, value in collection.layers[layers[0]].items()) if layers else "…"
    return f"name an SAE of another layer: '+sae.layers.{layers[0] + 1 if layers else 0}={{{which}}}'"


def _all_chosen(pairs: Any, collection: SAECollection) -> list[Pair]:
    if pairs == ADJACENT:
        return collection.adjacent_pairs()
    if pairs == ALL:
        return collection.all_pairs()
    return list(dict.fromkeys(_pair(source, target, collection) for source, target in pairs))


def _pair(source: int, target: int, collection: SAECollection) -> Pair:
    for layer in (source, target):
        collection.refuse_unknown(layer)
    if source >= target:
        raise UserError(f"a pair goes from a layer to a later one, got [{source},{target}] in pairs")
    return source, target


def _compared(pair: Pair, direct: Matching, chains: Chains, matcher: LayerMatcher) -> CompositionRow:
    """The chain of neighbours between two layers against their direct matching."""
    if pair not in chains:
        chains.extend(pair, direct)
    return CompositionRow.of(pair, compare(matcher.priced(pair, chains[pair]), direct))


def _report(console: Console, rows: list[MatchingRow], compared: list[CompositionRow], folder: Path) -> None:
    console.print()
    ordered = sorted(rows, key=lambda row: (row.source_layer, row.target_layer))
    console.print(matching_table(ordered))
    judged = any(row.significant is not None for row in rows)
    if judged:
        console.print("\nFeatures that are truly matched, by random targets", style="italic", highlight=False)
        console.print(significance_table(ordered))
    if compared:
        console.print("\nChains of neighbours against direct matchings", style="italic", highlight=False)
        console.print(agreement_table(compared))
    say(console, ("\nFiles", "bold"), f" in {folder}")
    files = f"matchings.csv, matchings/*.safetensors, {'significance/*.safetensors, ' if judged else ''}.hydra/"
    say(console, f"  {'composition.csv, ' if compared else ''}{files}")
