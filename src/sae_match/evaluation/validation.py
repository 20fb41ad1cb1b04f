"""`MatchValidation`: match the SAEs of pairs of layers, then see on text how much survives."""

import logging
import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import cast

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from sae_match.bootstrap import bootstrap_weights
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import FITTED_ARMS, LINEAR_MAP, LINEAR_MAP_SAE, MATCHED, checked_arms
from sae_match.evaluation.fitting import refuse_common_documents, refuse_too_few
from sae_match.evaluation.fitting_pass import fit
from sae_match.evaluation.matchings import PairMatcher, PairMatchings, evidence
from sae_match.evaluation.measuring import Subject, measure_batch
from sae_match.evaluation.plan import Pair, PassPlan, grouped, pairs_at, refuse_broken_chains, twins_among
from sae_match.evaluation.resuming import SumsIdentity, Unfinished
from sae_match.evaluation.settings import EvaluationSettings, refuse_impossible
from sae_match.evaluation.statistics.forms import forms_of
from sae_match.evaluation.statistics.measures import results_of, spans_of
from sae_match.evaluation.statistics.results import Results, SpanResult
from sae_match.evaluation.statistics.tally import Layout, Tally
from sae_match.evaluation.survey import Observer, Survey, surveyed
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import PairWatch, save_matching, unwatched
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.solver.planning import GIGABYTE, free_memory
from sae_match.model.fingerprint import fingerprint
from sae_match.model.fit import refuse_layers_beyond, refuse_other_width
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.collection import SAECollection
from sae_match.saes.shelf import SAEShelf
from sae_match.saes.sites import checked_site
from sae_match.tensors import cpu_by_default, products
from sae_match.text.batches import TextData, TokenBatch

log = logging.getLogger(__name__)

# Shares of the free memory: SAEs that stay open, and residuals of a batch.
_SHARE_OF_SAES, _SHARE_OF_RESIDUALS = 0.5, 0.2

Watch = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


class MatchValidation(L.LightningModule):
    """Validates the matchings of pairs of layers of a collection on streamed text.

    `setup` matches, from the weights alone; every `validation_step` runs the model once to capture
    the residual streams, and resumes it after the target layer for each pair and arm.

    Args:
        stream: The frozen language model.
        collection: Its SAEs.
        matcher: How features are matched.
        settings: What is measured.
        cache: Where matchings are kept between runs, and the sums of a run that was killed.
        folder: Run folder; the matchings are written to `matchings/` in it.
        watch_pair: Told where the solution of each pair stands.
        watch: Told what is being done while text is read.
        fitting: Fitting text, for the arms that need it.
        observers: Shown every layer's features of the evaluated text before anything is measured.

    Attributes:
        twins: Arms whose results are those of another one, with that one.
        matchings: After `setup`, the matchings of each pair.
        survey: Means over the evaluated text.
        tally: Sums over the validated batches.
        open_sae: Gives the SAE of a layer, on the device of the model.
        keeps_sums: Whether finished sums are kept until `forget` is called: whoever writes the results says when.
    """

    def __init__(
        self,
        stream: ResidualStream,
        collection: SAECollection,
        matcher: MatcherSettings,
        settings: EvaluationSettings,
        cache: MatchingCache,
        folder: Path,
        watch_pair: PairWatch = unwatched,
        watch: Watch = lambda *_: None,
        fitting: TextData | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        super().__init__()
        self.observers = observers
        self.stream, self.collection, self.matcher, self.settings = stream, collection, matcher, settings
        self.cache, self.folder, self.watch_pair, self.watch, self.fitting = cache, folder, watch_pair, watch, fitting
        refuse_impossible(settings)
        self.arms, self.site = checked_arms(settings.arms), checked_site(collection.site)
        self.twins = twins_among(self.arms, matcher.fold, settings.carry)
        self.measured = [arm for arm in self.arms if arm not in self.twins]
        self.pairs = pairs_at(collection, settings.spans)
        refuse_broken_chains(collection, self.pairs, self.arms)
        self.layers = sorted({layer for pair in self.pairs for layer in pair})
        self._refuse_unfit(fitting)
        self.matchings: dict[Pair, PairMatchings] = {}
        self.open_sae = collection.open
        self.widths: dict[int, int] = {}
        self._hashes: dict[int, str] = {}
        self.keeps_sums = False

    @property
    def fitted_arms(self) -> list[str]:
        """Arms that are fitted on text."""
        return [arm for arm in self.arms if arm in FITTED_ARMS]

    @property
    def needs_fitting(self) -> bool:
        """Whether there are such arms."""
        return bool(self.fitted_arms)

    @property
    def results(self) -> Results:
        """Results of the documents validated so far."""
        return Results(results_of(self.tally))

    @property
    def spans(self) -> list[SpanResult]:
        """Results as means over the pairs of layers at the same distance."""
        return list(spans_of(self.tally))

    def plan(self) -> PassPlan:
        """What each token takes."""
        reruns, groups = self.site != "residual", getattr(self, "_groups", ())
        return PassPlan(self.stream.n_layers, self.pairs, self.measured, reruns, max(1, len(groups)))

    @cpu_by_default()
    def setup(self, stage: str) -> None:
        """Match every pair; no text and no language model is needed for it."""
        matcher = PairMatcher(
            self.collection,
            self.matcher,
            self.cache,
            self.arms,
            self.settings.seed,
            self.watch_pair,
            self.trainer.strategy.root_device,
            self.settings.carry,
        )
        for pair, found in matcher.all_of(self.pairs, self.global_rank, self.trainer.world_size):
            self._look_at(pair, matcher)
            self.matchings[pair] = found
            log.info("layers %d and %d matched%s", *pair, evidence(found.matchings.get(MATCHED)))
            if MATCHED in found.matchings and self.trainer.is_global_zero:
                save_matching(found.matchings[MATCHED], self.folder, pair, self.collection)

    @cpu_by_default()
    @torch.no_grad()
    def on_validation_start(self) -> None:
        """Fit what is fitted, and start from empty sums, or from those of a run that was killed."""
        device, data = self.device, _text_of(self.trainer)
        free = free_memory(device) if self.settings.memory is None else self.settings.memory * GIGABYTE
        self.open_sae = SAEShelf(self.collection, _SHARE_OF_SAES * free, device).open
        self.matchings = {pair: found.to(device) for pair, found in self.matchings.items()}
        largest = max(batch.input_ids.numel() for batch in data.batches) * self.stream.d_in
        residual = largest * next(self.stream.parameters()).element_size()
        self._groups = grouped(self.pairs, residual, _SHARE_OF_RESIDUALS * free)
        self.subject = Subject(self.stream, self.site, self.open_sae, self.matchings, {}, self.measured)
        if self.needs_fitting:
            self._fit(cast(TextData, self.fitting), data)
        self.tally = self.empty_tally(data)
        self._unfinished = Unfinished(self._unfinished_file(data))
        self._finished: set[int] = set()
        self._kept_at = time.perf_counter()
        batches = len(data.batches[self.global_rank :: self.trainer.world_size])
        if (found := self._unfinished.found(len(self.tally.flat()), batches)) is not None:
            sums, self._finished = found
            self.tally.fill(sums)
            log.info("going on after %d batches that an earlier run has finished", len(self._finished))

    @cpu_by_default()
    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """Measure every pair and arm on a batch of documents of one dataset."""
        if batch_idx in self._finished:
            return
        weights = bootstrap_weights(batch.dataset, batch.documents, self.settings.seed)
        start, total = (len(self.pairs) * n for n in (batch_idx, len(cast(Sized, self.trainer.val_dataloaders))))
        self._tell("validating", start, total)
        measure_batch(
            self.subject,
            batch,
            self._groups,
            self.tally,
            weights,
            lambda done: self._tell("validating", start + done, total),
        )
        self._finished.add(batch_idx)
        if self._unfinished.is_due(time.perf_counter() - self._kept_at):
            self._unfinished.keep(self.tally.flat(), self._finished)
            self._kept_at = time.perf_counter()

    @cpu_by_default()
    def on_validation_epoch_end(self) -> None:
        """Add up what the processes have found; what an interrupted run would go on from is not needed any more."""
        if self.keeps_sums:
            self._unfinished.keep(self.tally.flat(), self._finished)
        else:
            self.forget()
        if self.trainer.world_size > 1:
            self.tally.fill(self._summed(self.tally.flat()))
        for layer in self.layers:
            for dataset in self.tally.layout.datasets:
                if self.tally.documents(dataset) and not self.tally.active((layer, dataset)).any():
                    log.warning("no feature of the SAE of layer %d is ever active on dataset %s", layer, dataset)

    def forget(self) -> None:
        """Remove what the same validation would go on from: its results are written."""
        self._unfinished.remove()

    def _tell(self, what: str, done: int, total: int) -> None:
        """Say what is being done. A trainer heeds a SIGTERM by itself only while it trains; here it is heard."""
        if self.trainer.received_sigterm:
            raise SIGTERMException
        self.watch(what, done, total)

    def _fit(self, fitting: TextData, data: TextData) -> None:
        for dataset, works in fitting.works.items():
            refuse_common_documents(works, data.works.get(dataset, ()))
        fitted = fit(self.subject, self.pairs, fitting.batches, self.device, self._tell)
        for pair, found in fitted.coactivation.items():
            given = (self.open_sae(pair[0]), self.open_sae(pair[1]), self.matcher, self.settings.carry)
            self.matchings[pair] = self.matchings[pair].with_coactivation(found, *given)
        self.subject = replace(self.subject, linear=fitted.linear, means=fitted.means)

    def empty_tally(self, data: TextData) -> Tally:
        """Sums over nothing, about the means of everything: a survey of the text finds them."""
        datasets = list(dict.fromkeys(batch.dataset for batch in data.batches))
        width = self.stream.width(self.site)
        forms = forms_of(all(self.stream.anatomy.reading_norm(self.site, layer) for layer in self.layers))
        layout = Layout(self.pairs, self.arms, datasets, width, self.widths, self.twins, forms)
        self.survey = self._surveyed(data, layout)
        tally = Tally(layout)
        tally.refer(self.survey.references(self.subject, layout))
        tally.refer(self.survey.normed_references(self.subject, layout), normed=True)
        tally.landmarks = self.survey.landmarks(layout)
        return tally

    def _surveyed(self, data: TextData, layout: Layout) -> Survey:
        """What a survey of all text finds, in every process."""
        rank, processes = self.global_rank, self.trainer.world_size
        own, watch = data.batches[rank::processes], partial(self._tell, "surveying")
        survey = surveyed(self.subject, own, self._groups, layout, self.observers, watch)
        if processes > 1:
            survey.fill(self._summed(survey.flat()))
            for observer in self.observers:
                gathered = cast(torch.Tensor, self.all_gather(observer.flat().to(self.device)))
                observer.fill(list(gathered.cpu()))
        return survey

    def _summed(self, sums: torch.Tensor) -> torch.Tensor:
        """Sums of all processes."""
        return cast(torch.Tensor, self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")).cpu()

    def _unfinished_file(self, data: TextData) -> Path:
        """Where an interrupted run is kept: named by all that its sums follow from."""
        identity = SumsIdentity(
            settings={**asdict(self.settings), "arms": self.arms, "memory": None},
            site=self.site,
            precision=[str(self.trainer.precision), products()],
            device=self.device.type,
            matcher=self.matcher.identity(),
            saes=self._hashes,
            model=fingerprint(self.stream),
            share=[self.global_rank, self.trainer.world_size],
            text=data.content_hash(),
            fitting=self.fitting.content_hash() if self.fitting and self.needs_fitting else "",
        )
        return identity.file(self.cache.folder.parent / "validations")

    def _refuse_unfit(self, fitting: TextData | None) -> None:
        """Check, before anything is matched, what would stop the validation later."""
        refuse_layers_beyond(self.stream, self.layers)
        if self.needs_fitting and fitting is None:
            raise UserError(f"arms {', '.join(self.fitted_arms)} are fitted on text, and no fitting text is given")
        if fitting is not None and {LINEAR_MAP, LINEAR_MAP_SAE} & set(self.arms):
            refuse_too_few(sum(fitting.tokens().values()), self.stream.width(self.site))

    def _look_at(self, pair: Pair, matcher: PairMatcher) -> None:
        """Note what the SAEs of a pair are; none of them is held."""
        for layer, sae in zip(pair, matcher.opened(pair), strict=True):
            refuse_other_width(self.stream, self.site, layer, sae.d_in)
            self.widths[layer], self._hashes[layer] = sae.d_sae, sae.content_hash()


def _text_of(trainer: L.Trainer) -> TextData:
    """The text that a trainer validates on."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, TextData):
        raise TypeError(f"MatchValidation is validated on TextData, got {type(data).__name__}")
    return data
