"""Steering and groups, in place of a validation: match, read, add directions, and leave what follows."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import pyarrow as pa
from rich.console import Console

from sae_match.commands.telling import told
from sae_match.errors import stopped_while
from sae_match.evaluation.groups.circuits import Groups
from sae_match.evaluation.groups.members import grouped_by
from sae_match.evaluation.groups.settings import GroupSettings
from sae_match.evaluation.steering.beforehand import asked_of, refuse_unjudged
from sae_match.evaluation.steering.paths import Paths
from sae_match.evaluation.steering.study import steered
from sae_match.files import writable
from sae_match.matching import baselines
from sae_match.matching.cache import MatchingCache
from sae_match.matching.cost import Metric
from sae_match.matching.folding_choice import fitting_matcher
from sae_match.matching.layers import LayerMatcher, Pair, unwatched
from sae_match.matching.matching import device_named
from sae_match.matching.result import Matching
from sae_match.model.fit import refuse_layers_beyond
from sae_match.model.loading import load_model, refuse_longer_text
from sae_match.progress import counting
from sae_match.report.attempts import Attempts
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.picture import save_pictures
from sae_match.report.steering.files import (
    print_steering,
    save_groups,
    save_steering,
    steering_means,
    steering_picture,
)
from sae_match.report.steering.reading import groups_of_prompt
from sae_match.report.tracking.logger import open_logger, where_to_look
from sae_match.report.tracking.records import log_study
from sae_match.saes.collection import SAECollection
from sae_match.saes.folding import Fold
from sae_match.settings.schema import ValidateSettings
from sae_match.terminal import Terminal, say
from sae_match.text.batches import TextData


def main(settings: ValidateSettings) -> None:
    """Steer along paths and group features, and leave what comes out in the run's folder."""
    console, folder = Terminal(), writable(Path(settings.output_dir))
    saes = SAECollection.of(settings.sae)
    starts, members = asked_of(saes, settings.steering, settings.groups)
    if settings.groups.asked:
        refuse_unjudged(settings.evaluation.rotations)
    settings.matcher = fitting_matcher(settings.matcher, saes, sorted(saes.layers))
    matcher = _matcher(settings, saes, console)
    files: list[Path] = []
    if starts:
        table = _steer(settings, saes, starts, matcher, console)
        files += save_steering(table, folder)
        print_steering(console, table)
        files += _draw_and_log(settings, table, console, folder)
    if settings.groups.asked:
        found = _groups(settings, saes, members, matcher)
        files += save_groups(found, folder)
        _print_groups(console, found)
    say(console, ("\nFiles", "bold"), f" in {folder}")
    say(console, f"  {', '.join(str(file.relative_to(folder)) for file in files)}")


def _matcher(settings: ValidateSettings, saes: SAECollection, console: Console) -> LayerMatcher:
    cache = MatchingCache(Path(settings.cache_dir).expanduser() if settings.cache_dir else None)
    watch = MatchingProgress(console).watch if settings.trainer.progress else unwatched
    return LayerMatcher(saes, settings.matcher, cache, watch)


def _steer(
    settings: ValidateSettings,
    saes: SAECollection,
    starts: list[Pair],
    matcher: LayerMatcher,
    console: Console,
) -> pa.Table:
    """Steer along the paths of features."""
    first = min(layer for layer, _ in starts)
    pairs = [pair for pair in saes.adjacent_pairs() if pair[0] >= first]
    matched, nearest = dict[Pair, Matching](), dict[Pair, Matching]()
    for pair in pairs:
        matched[pair] = matcher.match(pair)
        nearest[pair] = _nearest(matcher, pair)
    paths = Paths.of(matched, nearest)
    # Before any text is read.
    for start in starts:
        paths.refuse_pathless(*start)
    stream, tokenizer = load_model(settings.model)
    refuse_longer_text(stream, settings.text.max_tokens)
    refuse_layers_beyond(stream, paths.layers)
    device = device_named("cpu" if settings.trainer.accelerator == "cpu" else "auto")
    stream = stream.to(device)
    # The first so many of each dataset.
    few = min(settings.text.documents, settings.steering.documents)
    text = TextData(replace(settings.text, documents=few), tokenizer)
    text.prepare_data()
    text.refuse_tokens_beyond(stream.vocabulary)
    batches = [one.to(device) for one in text.batches]
    with (
        counting(console if settings.trainer.progress else None, "steering") as watch,
        stopped_while(lambda: "steering"),
    ):
        return steered(
            stream,
            cache(lambda layer: saes.open(layer).to(device)),
            paths,
            starts,
            batches,
            strengths=settings.steering.strengths,
            where=settings.steering.where,
            seed=settings.evaluation.seed,
            watch=watch,
        )


def _draw_and_log(settings: ValidateSettings, table: pa.Table, console: Console, folder: Path) -> list[Path]:
    """Draw what steering does, and log it; returns the pictures' files."""
    attempts = Attempts()
    drawn = [("steering", lambda: steering_picture(table))]
    pictures = save_pictures(drawn if settings.report.pictures else (), folder / "figures", attempts)
    with open_logger(replace(settings.logger, job_type="steer"), folder, told(settings)) as logger:
        log_study(logger, steering_means(table), {"steering": table.to_pylist()}, pictures, folder / "figures")
        if (line := where_to_look(logger)) is not None:
            say(console, ("\nW&B", "bold"), f": {line}")
    attempts.refuse_failed(folder)
    return [folder / "figures" / f"{one.name}.png" for one in pictures]


def _groups(
    settings: ValidateSettings, saes: SAECollection, members: list[Pair], matcher: LayerMatcher
) -> list[Groups]:
    """Groups of the features that are named, then of those of each prompt."""
    asked, evaluation = settings.groups, settings.evaluation
    significant: dict[Pair, Matching] = {}
    for pair in saes.adjacent_pairs():
        judged = matcher.judged(pair, matcher.match(pair), evaluation.rotations)
        if judged is not None:
            significant[pair] = judged.significance.significant(evaluation.alpha)
    found = []
    if members:
        found.append(Groups(tuple(grouped_by(members, significant)), alpha=evaluation.alpha))
    return [*found, *_of_prompts(settings, asked, saes, significant)]


def _of_prompts(
    settings: ValidateSettings, asked: GroupSettings, saes: SAECollection, significant: dict[Pair, Matching]
) -> list[Groups]:
    if not asked.prompts:
        return []
    stream, tokenizer = load_model(settings.model)
    device = device_named("cpu" if settings.trainer.accelerator == "cpu" else "auto")
    layers = sorted({layer for pair in significant for layer in pair})
    opened, model = {layer: saes.open(layer) for layer in layers}, stream.to(device)
    return [
        groups_of_prompt(
            prompt,
            significant,
            model,
            tokenizer,
            opened,
            most=asked.most,
            alpha=settings.evaluation.alpha,
            bos=settings.text.bos,
        )
        for prompt in asked.prompts
    ]


def _nearest(matcher: LayerMatcher, pair: Pair) -> Matching:
    how = matcher.settings
    return baselines.nearest(
        *matcher.opened(pair), fold=cast(Fold, how.fold), terms=how.terms, metric=cast(Metric, how.metric)
    )


def _print_groups(console: Console, found: list[Groups]) -> None:
    for one in found:
        joined = [group for group in one.groups if len(group.members) > 1]
        features = sum(len(group.members) for group in one.groups)
        about = f" of {one.prompt!r}" if one.prompt else ""
        say(console, ("\nGroups", "bold"), f"{about}: {features} features, {len(joined)} groups of more than one")
        for group in joined[:10]:
            members = ", ".join(f"{layer}/{feature}" for layer, feature in group.members)
            say(console, f"  {group.name}: {members}")
