"""Match the SAEs of pairs of layers, from the weights alone: no language model, no text.

python scripts/match.py                                     # adjacent layers of the bundled model
python scripts/match.py pairs=all                           # every pair, and chains against direct matchings
python scripts/match.py 'pairs=[[0,1],[2,5]]' matcher=cosine
python scripts/match.py -m hydra/launcher=processes pairs=all shards=2 shard=0,1
"""

import logging
from pathlib import Path

from rich.console import Console

from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import Chains, compare
from sae_match.matching.layers import LayerMatcher, Pair, by_target, save_matching, unwatched
from sae_match.matching.result import Matching
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.matchings import CompositionRow, MatchingRow, agreement_table, matching_table, save_rows
from sae_match.settings.entry import entry_point
from sae_match.settings.match import MatchSettings

log = logging.getLogger(__name__)


@entry_point(Path(__file__).parents[1] / "conf" / "match.yaml", MatchSettings)
def main(settings: MatchSettings) -> None:
    collection, folder, console = settings.sae.collection(), Path(settings.output_dir), Console()
    pairs = by_target(settings.chosen(collection))
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
            rows.append(MatchingRow.of(pair, matching))
            # After each, so that an interrupted run leaves what it has found.
            save_rows(rows, folder / "matchings.csv")
            progress.done()
            log.info("layers %d and %d matched: cost %.6g, gap %.0e", *pair, matching.cost, matching.gap)
            if settings.compares:
                compared.append(_compared(pair, matching, chains, matcher))
                save_rows(compared, folder / "composition.csv")
    _report(console, rows, compared, folder)


def _compared(pair: Pair, direct: Matching, chains: Chains, matcher: LayerMatcher) -> CompositionRow:
    """The chain of neighbours between two layers against their direct matching."""
    if pair not in chains:
        chains.extend(pair, direct)
    return CompositionRow.of(pair, compare(matcher.priced(pair, chains[pair]), direct))


def _report(console: Console, rows: list[MatchingRow], compared: list[CompositionRow], folder: Path) -> None:
    console.print()
    console.print(matching_table(sorted(rows, key=lambda row: (row.source_layer, row.target_layer))))
    if compared:
        console.print("\nChains of neighbours against direct matchings", style="italic", highlight=False)
        console.print(agreement_table(compared))
    console.print(f"\n[bold]Files[/bold] in {folder}", highlight=False, soft_wrap=True)
    files = "matchings.csv, matchings/*.safetensors, .hydra/"
    console.print(f"  {'composition.csv, ' if compared else ''}{files}", highlight=False)


if __name__ == "__main__":
    main()
