"""Ask a judge whether matched features mean the same.

python scripts/judge.py                                     # the bundled model, without any other model
python scripts/judge.py judge=openai judge.model=gpt-4o-mini judge.limit=1   # a language model, one dollar at most
python scripts/judge.py judge=openai judge.base_url=http://localhost:8000/v1 judge.model=NAME
python scripts/judge.py sae=gemma_scope_2b_canonical judge=openai            # published descriptions, no text is read
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from sae_match.files import writable
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import LayerMatcher, unwatched
from sae_match.matching.planning import free_memory
from sae_match.model.loading import load_model, refuse_longer_text
from sae_match.report.evidence_lines import contexts_line, descriptions_line
from sae_match.report.judged_page import JudgedPage
from sae_match.report.judging import JudgeReport, asked, named, warn_of_obstacles
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.progress import counting
from sae_match.report.wandb_logging import open_logger
from sae_match.saes.collection import SAECollection
from sae_match.saes.shelf import SAEShelf
from sae_match.saes.sites import checked_site
from sae_match.semantics.collecting import collect
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.descriptions import Descriptions, open_descriptions
from sae_match.semantics.evidence import Evidence, Published, WhereItFires
from sae_match.semantics.judge import open_judge
from sae_match.semantics.passages import Passages
from sae_match.semantics.study import chosen_layers, eligible_of, matchings_of, questions_of, starting_layers
from sae_match.settings.entry import entry_point
from sae_match.settings.judge import JudgeStudySettings
from sae_match.text.batches import TextData

# Of the free memory, for SAEs that stay open.
_SHARE_OF_SAES = 0.5


@entry_point(Path(__file__).parents[1] / "conf" / "judge.yaml", JudgeStudySettings)
def main(settings: JudgeStudySettings) -> None:
    console, folder, collection = Console(), writable(Path(settings.output_dir)), settings.sae.collection()
    shown = console if settings.progress else None
    matchings_cache = MatchingCache(Path(settings.cache_dir).expanduser() if settings.cache_dir else None)
    caches = matchings_cache.folder.parent
    layers = chosen_layers(settings.study, list(collection.layers))
    starts = starting_layers(settings.study, layers)
    page = None if settings.page is None else JudgedPage(Path(settings.page).expanduser())
    judges = named([open_judge(one, caches / "answers") for one in settings.judges()])
    published = _published(settings, collection)
    report = JudgeReport(console, folder, layers, settings.study, page)
    report.print_plan(collection.source, starts, settings.matcher, _shown(settings, published, layers), list(judges))
    warn_of_obstacles(judges)
    progress = MatchingProgress(console)
    watch = progress.watch if settings.progress else unwatched
    matcher = LayerMatcher(collection, settings.matcher, matchings_cache, watch)
    with progress.shown():
        matchings = matchings_of(matcher, layers, starts)
    if page is not None:
        page.refuse_other_matchings(matchings.neighbours)
    if published is None:
        evidence = _firing(settings, collection, matchings.widths, shown)
    else:
        evidence = _fetched(published, matchings.widths, shown)
    known = {layer: evidence.known(layer) for layer in layers}
    eligible = eligible_of(known, matchings.widths, settings.study.live)
    paths, questions = questions_of(settings.study, layers, starts, matchings, eligible, matcher)
    report.print_questions(paths, questions, eligible)
    with open_logger(settings.logger, folder, asdict(settings)) as logger:
        said = {name: asked(judge, questions, evidence, shown) for name, judge in judges.items()}
        report.finish(said, logger)


def _published(settings: JudgeStudySettings, collection: SAECollection) -> Descriptions | None:
    """Published descriptions, if they are what judges are shown."""
    descriptions = open_descriptions(settings.descriptions, collection)
    return None if settings.shows_contexts(published=descriptions is not None) else descriptions


def _shown(settings: JudgeStudySettings, published: Descriptions | None, layers: Sequence[int]) -> str:
    """What judges are shown, for the plan."""
    if published is None:
        return contexts_line(settings.model, settings.text, settings.device_name())
    return descriptions_line(published, settings.descriptions, layers)


def _fetched(descriptions: Descriptions, widths: Mapping[int, int], console: Console | None) -> Evidence:
    """Published descriptions, of all features as far as they come in bulk."""
    with counting(console, "descriptions") as advance:
        descriptions.fetch(dict.fromkeys(widths, ()), lambda _, done, total: advance(done, total))
    return Published(descriptions, widths)


def _firing(
    settings: JudgeStudySettings, collection: SAECollection, widths: Mapping[int, int], console: Console | None
) -> Evidence:
    """Where features fire in text that is read now."""
    stream, tokenizer = load_model(settings.model)
    refuse_longer_text(stream, settings.text.max_tokens)
    device = torch.device(settings.device_name())
    stream = stream.to(device)
    data, contexts = TextData(settings.text, tokenizer), Contexts(seed=settings.study.seed)
    data.setup("validate")
    open_sae = SAEShelf(collection, _SHARE_OF_SAES * free_memory(device), device).open
    with counting(console, "reading text") as advance:
        active = collect(stream, checked_site(collection.site), open_sae, widths, data.batches, contexts, advance)
    return WhereItFires(Passages(contexts, data.batches, tokenizer), active)


if __name__ == "__main__":
    main()
