"""Match the SAEs of adjacent layers and validate the matchings on text."""

from dataclasses import replace
from pathlib import Path

import lightning as L
from transformers import PreTrainedTokenizerBase

from sae_match.commands.check import of_one_collection
from sae_match.commands.telling import told
from sae_match.commands.trainer import open_trainer
from sae_match.errors import UserError, stopped_while
from sae_match.evaluation.arm_names import FITTED_ARMS, checked_arms
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.plan import chosen_pairs
from sae_match.evaluation.provenance.study import ProvenanceStudy
from sae_match.evaluation.scope import Surroundings
from sae_match.evaluation.survey import Observer
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.folding_choice import fitting_matcher
from sae_match.model.fit import refuse_layers_beyond
from sae_match.model.loading import refuse_longer_text
from sae_match.model.speed.half import warn_where_half_is_slow
from sae_match.model.two.loading import load_models
from sae_match.model.two.streams import Streams, TwoStreams
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.tracking.logger import open_logger
from sae_match.report.validation.callback import ValidationReport
from sae_match.report.validation.progress import MatchingBar, ValidationProgress
from sae_match.saes.two import Collections, collections_of
from sae_match.semantics.contexts import open_contexts
from sae_match.semantics.descriptions import open_pages
from sae_match.settings.processes import is_helper
from sae_match.settings.schema import ValidateSettings
from sae_match.terminal import Terminal
from sae_match.text.batches import TextData


def main(settings: ValidateSettings) -> float | None:
    """Match the SAEs of pairs of layers, validate the matchings on text, and leave all of it in the run's folder."""
    folder = Path(settings.output_dir)
    stream, tokenizer = load_models(settings.model, settings.target_model)
    for one in (stream.source, stream.target) if isinstance(stream, TwoStreams) else (stream,):
        refuse_longer_text(one, settings.text.max_tokens)
    cache = MatchingCache(Path(settings.cache_dir).expanduser() if settings.cache_dir else None)
    console = Terminal()
    matching = MatchingProgress(console)
    text = _text(settings, tokenizer)
    if not is_helper():
        # Before other processes are started, which are given what is drawn here.
        text.prepare_data()
        for read in text.texts:
            read.refuse_tokens_beyond(stream.vocabulary)
    saes = collections_of(settings.sae, settings.target, settings.models)
    ends = sorted({end for pair in chosen_pairs(saes, settings.evaluation) for end in saes.ends(pair)})
    refuse_layers_beyond(stream, ends)
    settings.matcher = fitting_matcher(settings.matcher, saes, ends)
    progress = ValidationProgress(console)
    contexts = open_contexts(settings.report, settings.evaluation.seed)
    observers: list[Observer] = [] if contexts is None else [contexts]
    if settings.modules:
        observers.append(_study(settings, stream, saes))
    module = MatchValidation(
        stream,
        saes,
        settings.matcher,
        settings.evaluation,
        Surroundings(cache, folder, matching.watch, progress.watch, tuple(observers)),
    )
    described = open_pages(settings.descriptions.kept_in(cache.folder.parent), module.collection)
    callbacks: list[L.Callback] = [
        ValidationReport(
            console,
            folder,
            text,
            settings.models or settings.model.source,
            contexts,
            described,
            pictures=settings.report.pictures,
        )
    ]
    if settings.trainer.progress:
        # First, so that the bar is gone when the report prints its tables.
        callbacks.insert(0, progress)
        # Last, so that the plan is printed before the bar is drawn.
        callbacks.append(MatchingBar(matching))
    with open_logger(settings.logger, folder, told(settings)) as logger:
        trainer = open_trainer(
            settings.trainer,
            ("validate", settings),
            folder=folder,
            logger=logger or False,
            callbacks=callbacks,
            enable_progress_bar=False,
            use_distributed_sampler=False,
        )
        if settings.model.dtype == "bfloat16":
            warn_where_half_is_slow(trainer.strategy.root_device, "model.dtype=bfloat16", "model.dtype=float32")
        # Until all of the report is written: what fails of it is then made by the same command without measuring again.
        module.keeps_sums = True
        with stopped_while(lambda: progress.doing or matching.doing):
            trainer.validate(module, text, verbose=False)
    module.forget()
    return module.objective


def _study(settings: ValidateSettings, stream: Streams, saes: Collections) -> ProvenanceStudy:
    """Asks where features come from, while the text is surveyed."""
    if isinstance(stream, TwoStreams):
        raise UserError("where features come from is asked of one model: leave target_model out")
    evaluation = settings.evaluation
    return ProvenanceStudy(
        stream,
        *of_one_collection(settings, saes),
        rotations=evaluation.rotations,
        alpha=evaluation.alpha,
        seed=evaluation.seed,
        chosen=settings.provenance.features,
    )


def _text(settings: ValidateSettings, tokenizer: PreTrainedTokenizerBase) -> ValidationText:
    """The evaluated text and, where an arm is fitted, text to fit it on: none of the works that the other is from."""
    evaluated = TextData(settings.text, tokenizer)
    if not set(checked_arms(settings.evaluation.arms)) & set(FITTED_ARMS):
        return ValidationText(evaluated)
    text = replace(settings.text, documents=settings.evaluation.fitting_documents)
    # Its works are known once it is drawn, which it is first.
    return ValidationText(evaluated, TextData(text, tokenizer, "fitting", apart_from=evaluated.works))
