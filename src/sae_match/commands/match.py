"""Match the SAEs of pairs of layers, from the weights alone: no language model, no text."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from sae_match.errors import UserError, stopped_while
from sae_match.evaluation.relations.tables import LIVES, SPLITS, write_splits
from sae_match.matching.between import UNMATCHED_FILE, save_unmatched
from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import Chains, compare
from sae_match.matching.folding_choice import fitting_matcher
from sae_match.matching.layers import (
    LayerMatcher,
    Pair,
    by_target,
    save_matching,
    save_relations,
    save_significance,
    unwatched,
)
from sae_match.matching.relations.result import Relations
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.composed import path_significance
from sae_match.matching.significance.result import Significance
from sae_match.owned import remove_table
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.matchings import (
    CompositionRow,
    MatchingRow,
    agreement_table,
    cosine_quantiles,
    cosine_table,
    distance_table,
    matching_table,
    save_rows,
    significance_table,
)
from sae_match.report.pair_tables import save_tables, weights_table
from sae_match.report.relatives import large_line, relations_table
from sae_match.saes.collection import SAECollection
from sae_match.saes.two import Collections, TwoCollections, collections_of
from sae_match.settings.match import ADJACENT, ALL, MatchSettings
from sae_match.terminal import Terminal, say

log = logging.getLogger(__name__)


def main(settings: MatchSettings) -> None:
    """Match the SAEs of pairs of layers, and leave matchings and their costs in the run's folder."""
    collection, folder, console = collections_of(settings.sae, settings.target), Path(settings.output_dir), Terminal()
    pairs = by_target(chosen_pairs(settings, collection))
    fitting = _fitting(settings, collection)
    cache = MatchingCache(Path(settings.cache_dir).expanduser() if settings.cache_dir else None)
    progress = MatchingProgress(console, len(pairs))
    matcher = LayerMatcher(collection, fitting, cache, progress.watch if settings.progress else unwatched)
    if settings.matcher.memory is not None:
        log.info("memory budget of a matching: %.3g GB", settings.matcher.memory)
    if settings.random_targets:
        log.info("each matching is judged against %d random targets; rotations=0 judges none", settings.random_targets)
    for table in (UNMATCHED_FILE, SPLITS, LIVES):
        remove_table(folder / table)
    rows: list[MatchingRow] = []
    compared: list[CompositionRow] = []
    chains, links = Chains(), dict[Pair, Significance]()
    neighbours = set() if isinstance(collection, TwoCollections) else set(pairwise(sorted(collection.layers)))
    found, widths, related = dict[Pair, Matching](), dict[int, int](), dict[Pair, Relations]()
    cosines = dict[Pair, list[float | None]]()
    if isinstance(collection, TwoCollections):
        _say_which(console, collection, pairs, settings.shards > 1)
    with progress.shown():
        for pair in pairs:
            with stopped_while(partial(progress.said, pair)):
                matching = matcher.match(pair)
            save_matching(matching, folder, pair, collection)
            found[pair] = matching
            widths |= {end: sae.d_sae for end, sae in zip(collection.ends(pair), matcher.opened(pair), strict=True)}
            with stopped_while(partial(progress.said, pair, "judging")):
                judged = matcher.judged(pair, matching, settings.random_targets)
            if judged is not None:
                save_significance(judged.significance, folder, pair, collection.names)
                if pair in neighbours:
                    links[pair] = judged.significance
                if settings.relations:
                    related[pair] = matcher.related(pair, matching, judged, settings.alpha)
                    save_relations(related[pair], folder, pair, collection.names)
                    write_splits(folder / SPLITS, related)
            alike = matcher.alike(pair, matching, judged)
            table = weights_table(pair, matching, alike, judged, settings.alpha)
            save_tables({pair: table}, folder / "pairs", collection.names)
            cosines[pair] = cosine_quantiles(table)
            rows.append(MatchingRow.of(pair, matching, judged, settings.alpha, collection.names))
            # After each, so that an interrupted run leaves what it has found.
            save_rows(rows, folder / "matchings.csv")
            progress.done()
            log.info("layers %d and %d matched: cost %.6g, gap %.0e", *pair, matching.cost, matching.gap)
            if settings.compares:
                compared.append(_compared(pair, matching, chains, matcher, _of_chain(pair, links, settings.alpha)))
                save_rows(compared, folder / "composition.csv")
    unmatched = save_unmatched(found, widths, collection, folder / UNMATCHED_FILE)
    _report(console, rows, compared, related, cosines, folder, settings.alpha, unmatched)


def _fitting(settings: MatchSettings, collection: Collections) -> MatcherSettings:
    """Settings that all SAEs of the run can be matched by, whatever its shard: shards fold alike."""
    pairs = chosen_pairs(replace(settings, shard=0, shards=1), collection)
    return fitting_matcher(
        settings.matcher, collection, sorted({end for pair in pairs for end in collection.ends(pair)})
    )


def _say_which(console: Console, both: TwoCollections, pairs: Sequence[Pair], sharded: bool) -> None:
    """Which two collections are matched, and which layers of them are not."""
    say(console, f"From {both.names[0]} to {both.names[1]}, {len(pairs)} pair{'s' * (len(pairs) != 1)} of layers")
    if not sharded and (alone := both.left_out(pairs)):
        say(console, f"left out: {alone}")


def chosen_pairs(settings: MatchSettings, collection: Collections) -> list[Pair]:
    """The pairs of this run's shard.

    Raises:
        UserError: If there are none, or one is no pair of layers of the collection in ascending order.
    """
    if isinstance(collection, TwoCollections):
        pairs = _between(settings.pairs, collection)
    elif not (pairs := _all_chosen(settings.pairs, collection)):
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


def _between(pairs: Any, both: TwoCollections) -> list[Pair]:
    if pairs == ALL:
        return both.all_pairs()
    return both.chosen(None if pairs == ADJACENT else pairs)


def _pair(source: int, target: int, collection: SAECollection) -> Pair:
    for layer in (source, target):
        collection.refuse_unknown(layer)
    if source >= target:
        raise UserError(f"a pair goes from a layer to a later one, got [{source},{target}] in pairs")
    return source, target


def _of_chain(pair: Pair, judged: Mapping[Pair, Significance], alpha: float) -> float | None:
    """Share of the features that are significantly matched in every link between two layers; none if it is not known.

    Args:
        pair: The two.
        judged: Matchings of neighbours.
        alpha: Level.
    """
    links = sorted(link for link in judged if pair[0] <= link[0] and link[1] <= pair[1])
    if not links or (links[0][0], links[-1][1]) != pair or any(a[1] != b[0] for a, b in pairwise(links)):
        return None
    return path_significance([judged[link] for link in links]).share_at(alpha)


def _compared(
    pair: Pair, direct: Matching, chains: Chains, matcher: LayerMatcher, significant: float | None
) -> CompositionRow:
    """The chain of neighbours between two layers against their direct matching."""
    if pair not in chains:
        chains.extend(pair, direct)
    return CompositionRow.of(pair, compare(matcher.priced(pair, chains[pair]), direct), significant)


def _report(
    console: Console,
    rows: list[MatchingRow],
    compared: list[CompositionRow],
    related: Mapping[Pair, Relations],
    cosines: Mapping[Pair, Sequence[float | None]],
    folder: Path,
    alpha: float,
    unmatched: bool = False,
) -> None:
    console.print()
    ordered = sorted(rows, key=lambda row: (row.source_layer, row.target_layer))
    console.print(matching_table(ordered))
    console.print("\nCosines of the pairs, as quantiles", style="italic", highlight=False)
    console.print(cosine_table({row.layers: cosines[row.source_layer, row.target_layer] for row in ordered}))
    judged = any(row.significant is not None for row in rows)
    if judged:
        console.print(
            "\nFeatures that are truly matched, by random targets, with 95 % intervals over features",
            style="italic",
            highlight=False,
        )
        console.print(significance_table(ordered, alpha))
        if compared:
            console.print("\nBy distance, as means; composed: every link significant", style="italic", highlight=False)
            console.print(distance_table(ordered, compared))
    if related:
        _report_relations(console, rows, related)
    if compared:
        console.print("\nChains of neighbours against direct matchings", style="italic", highlight=False)
        console.print(agreement_table(compared))
    say(console, ("\nFiles", "bold"), f" in {folder}")
    kept = {
        f"{SPLITS}, relations/*.safetensors": bool(related),
        "composition.csv": bool(compared),
        UNMATCHED_FILE: unmatched,
        "matchings.csv, matchings/*.safetensors, pairs/*.parquet": True,
        "significance/*.safetensors": judged,
        ".hydra/": True,
    }
    say(console, f"  {', '.join(name for name, there in kept.items() if there)}")


def _report_relations(console: Console, rows: list[MatchingRow], related: Mapping[Pair, Relations]) -> None:
    called = {(row.source_layer, row.target_layer): row.layers for row in rows}
    console.print(
        "\nWhat became of features: groups of relatives, and single features", style="italic", highlight=False
    )
    console.print(relations_table(related, called))
    if line := large_line(related.values()):
        say(console, line)
