"""Ask a judge whether matched features mean the same."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from sae_match.commands.telling import told
from sae_match.errors import stopped_while
from sae_match.files import writable
from sae_match.matching.cache import MatchingCache
from sae_match.matching.folding_choice import fitting_matcher
from sae_match.matching.layers import LayerMatcher, unwatched
from sae_match.progress import counting
from sae_match.report.judged.evidence_lines import contexts_line, descriptions_line
from sae_match.report.judged.page import JudgedPage
from sae_match.report.judged.reporting import JudgeReport
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.tracking.logger import open_logger
from sae_match.saes.two import Collections, TwoCollections, collections_of, layer_of
from sae_match.semantics.answers import asked, named, warn_of_obstacles
from sae_match.semantics.descriptions import Descriptions, open_descriptions
from sae_match.semantics.judge import open_judges
from sae_match.semantics.sources import EvidenceSource, PublishedDescriptions, TextToRead
from sae_match.semantics.study import (
    chosen_layers,
    eligible_of,
    matchings_between,
    matchings_of,
    questions_between,
    questions_of,
    starting_layers,
)
from sae_match.settings.judge import AUTO, JudgeStudySettings
from sae_match.terminal import Terminal


def main(settings: JudgeStudySettings) -> None:
    """Ask judges about matched features, and leave what they said in the run's folder."""
    console, folder = Terminal(), writable(Path(settings.output_dir))
    collection = collections_of(settings.sae, settings.target)
    bars = console if settings.progress else None
    cache = MatchingCache(Path(settings.cache_dir).expanduser() if settings.cache_dir else None)
    if isinstance(collection, TwoCollections):
        pairs = sorted(collection.chosen(settings.pairs))
        layers = list(dict.fromkeys(end for pair in pairs for end in collection.ends(pair)))
        starts, first = list[int](), list(dict.fromkeys(collection.ends(pair)[0] for pair in pairs))
    else:
        pairs, first = [], []
        layers = chosen_layers(settings.study, list(collection.layers))
        starts = starting_layers(settings.study, layers)
    settings.matcher = fitting_matcher(settings.matcher, collection, layers)
    page = None if settings.page is None else JudgedPage(Path(settings.page).expanduser())
    judges = named(open_judges(settings.judges(), cache.folder.parent / "answers"))
    published = _published(settings, collection, cache.folder.parent)
    over = [layer_of(one) for one in first or layers]
    report = JudgeReport(console, folder, over, settings.study, _shown(settings, published, layers), page)
    report.print_plan(collection.source, starts, settings.matcher, list(judges))
    warn_of_obstacles(judges)
    # Opened first: what cannot be read had better be known before hours of matching.
    source = _source(settings, published, collection, layers)
    progress = MatchingProgress(console)
    matcher = LayerMatcher(collection, settings.matcher, cache, progress.watch if settings.progress else unwatched)
    with progress.shown():
        rotations = settings.study.rotations
        if pairs:
            matchings = matchings_between(matcher, pairs, rotations)
        else:
            matchings = matchings_of(matcher, layers, starts, rotations)
    if page is not None:
        page.refuse_other_matchings(matchings.neighbours, collection.names)
    with counting(bars, source.work) as advance:
        evidence = source.gather(matchings.widths, advance)
    eligible = eligible_of({layer: evidence.known(layer) for layer in layers}, matchings.widths, settings.study.live)
    if pairs:
        paths, questions = questions_between(settings.study, matchings, eligible, matcher)
    else:
        paths, questions = questions_of(settings.study, layers, starts, matchings, eligible, matcher)
    report.print_questions(paths, questions, eligible, first)
    with counting(bars, source.work) as advance:
        evidence.fetch(questions, advance)
    with open_logger(settings.logger, folder, told(settings)) as logger:
        said = {}
        for name, judge in judges.items():
            with stopped_while(partial("asking {}".format, name)):
                said[name] = asked(judge, questions, evidence, console, bars)
        report.finish(said, logger)


def _published(settings: JudgeStudySettings, collection: Collections, caches: Path) -> Descriptions | None:
    """Published descriptions, if they are what judges are shown."""
    descriptions = open_descriptions(settings.descriptions.kept_in(caches), collection)
    return None if settings.shows_contexts(published=descriptions is not None) else descriptions


def _shown(settings: JudgeStudySettings, published: Descriptions | None, layers: Sequence[int]) -> str:
    """What judges are shown, for the plan."""
    if published is None:
        return contexts_line(settings.model, settings.text, _device_name(settings))
    return descriptions_line(published, settings.descriptions, layers)


def _device_name(settings: JudgeStudySettings) -> str:
    """Where the language model runs."""
    if settings.device != AUTO:
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _source(
    settings: JudgeStudySettings, published: Descriptions | None, collection: Collections, layers: Sequence[int]
) -> EvidenceSource:
    if published is not None:
        return PublishedDescriptions(published)
    return TextToRead(
        settings.model, settings.text, _device_name(settings), collection, layers, seed=settings.study.seed
    )
