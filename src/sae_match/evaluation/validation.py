"""`MatchValidation`: match the SAEs of pairs of layers, then see on text how much survives."""

import logging
from dataclasses import asdict, replace
from functools import partial
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.causal.checking import CausalPass
from sae_match.evaluation.drift.activity import DocumentActivity
from sae_match.evaluation.matchings import PairMatcher, PairMatchings
from sae_match.evaluation.passes.fitting import FittingPass
from sae_match.evaluation.passes.joining import Joining
from sae_match.evaluation.passes.measurement import MeasuringPass
from sae_match.evaluation.passes.memory import SHARE_OF_RESIDUALS, SHARE_OF_SAES, MemoryPlan
from sae_match.evaluation.passes.processes import Processes
from sae_match.evaluation.passes.saving import save_found
from sae_match.evaluation.passes.session import Session
from sae_match.evaluation.passes.state import Pass, State
from sae_match.evaluation.passes.subject import Subject
from sae_match.evaluation.passes.surveying import SurveyPass
from sae_match.evaluation.passes.text import ValidationText, say_what_was_limited, text_of
from sae_match.evaluation.plan import Pair, PassPlan, grouped
from sae_match.evaluation.relations.collecting import RelativesCollector
from sae_match.evaluation.relations.tables import LIVES, SPLITS
from sae_match.evaluation.resuming import SumsIdentity, UnfinishedRun
from sae_match.evaluation.scope import Scope, Surroundings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.measures import objective_of, results_of, so_far, spans_of
from sae_match.evaluation.statistics.replicates import Replicates
from sae_match.evaluation.statistics.results import Results, SpanResult
from sae_match.evaluation.statistics.streaming import CPU
from sae_match.evaluation.statistics.tally import Tally
from sae_match.evaluation.survey import Survey
from sae_match.matching.between import UNMATCHED_FILE, save_unmatched
from sae_match.matching.layers import evidence
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.solver.planning import GIGABYTE, free_memory
from sae_match.model.fingerprint import fingerprint
from sae_match.model.fit import refuse_other_width
from sae_match.model.two.streams import Streams, TwoStreams
from sae_match.owned import remove_table
from sae_match.saes.shelf import InTurn, SAEShelf
from sae_match.saes.two import Collections, pair_name
from sae_match.tensors import cpu_by_default, products
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)


class MatchValidation(L.LightningModule):
    """Validates the matchings of pairs of layers, of one collection or between two, on streamed text.

    `setup` matches, from the weights alone. The data loaders of `ValidationText` are the passes: `validation_step`
    takes each batch to the pass of its `dataloader_idx`.

    | from | it holds |
    |---|---|
    | `__init__` | `scope`: pairs of layers and arms |
    | `setup` | `matchings` of each pair, and what their SAEs are |
    | `on_validation_start` | `session` with its passes; `state.subject`, what is measured, in it |
    | the end of the fitting | `state.subject` with affine maps and means; matchings by co-activation |
    | the end of the survey | `survey`: means over the evaluated text; `tally`: empty |
    | each batch of the measurement | `tally`: sums over this process's share, of which `results` are found |
    | the end of the measurement | `tally`: sums over the evaluated text, the same in every process |

    Args:
        stream: The frozen language model; of two, the source's and the target's.
        collection: Its SAEs.
        matcher: How features are matched.
        settings: What is measured.
        around: Where things are kept, and who looks on.

    Attributes:
        scope: What follows from these.
        matchings: The matchings of each pair.
        open_sae: Gives the SAE of a layer, on the device of the model.
        keeps_sums: Whether finished sums are kept until `forget` is called: whoever writes the results says when.
        memory: What is going to be held at most, by what it is for.
        state, session: While text streams by, and after.
        activity: How often each feature was active in each document, where it is told what drifted.
    """

    memory: MemoryPlan
    state: State
    session: Session

    def __init__(
        self,
        stream: Streams,
        collection: Collections,
        matcher: MatcherSettings,
        settings: EvaluationSettings,
        around: Surroundings,
    ) -> None:
        super().__init__()
        self.stream, self.collection, self.matcher, self.settings = stream, collection, matcher, settings
        self.scope, self.around = Scope.of(stream, collection, matcher, settings), around
        self.matchings: dict[Pair, PairMatchings] = {}
        self.open_sae = collection.open
        self.keeps_sums = False
        self.activity: DocumentActivity | None = None
        self._widths: dict[int, int] = {}
        self._hashes: dict[int, str] = {}

    @property
    def needs_fitting(self) -> bool:
        """Whether there are arms that are fitted on text."""
        return bool(self.scope.fitted)

    @property
    def switches_off(self) -> bool:
        """Whether features are switched off, in a pass of its own."""
        return self.settings.causal.asked

    @property
    def subject(self) -> Subject:
        """What is measured."""
        return self.state.subject

    @property
    def survey(self) -> Survey:
        """Means over the evaluated text."""
        return self.state.survey

    @property
    def tally(self) -> Tally:
        """Sums over what was measured."""
        if self.state.tally is None:
            raise RuntimeError("nothing is measured before the text is surveyed")
        return self.state.tally

    @property
    def results(self) -> Results:
        """Results of the documents validated so far."""
        return Results(results_of(self.tally.on(CPU))).between(self.collection.names)

    @property
    def spans(self) -> list[SpanResult]:
        """Results as means over the pairs of layers at the same distance."""
        return list(spans_of(self.tally.on(CPU)))

    @property
    def replicates(self) -> Replicates:
        """All numbers with their replicates, and which documents these are drawn from."""
        batches = text_of(self.trainer).measured(self.session.batches[-1])
        return Replicates.of(self.tally, batches, self.settings.seed)

    @property
    def objective(self) -> float | None:
        """What a sweep can make small: see `objective_of`."""
        return objective_of(self.tally)

    def plan(self) -> PassPlan:
        """What each token takes."""
        passes = max(1, len(self.state.groups)) if hasattr(self, "state") else 1
        reruns = self.scope.site != "residual"
        two_models = isinstance(self.stream, TwoStreams)
        return PassPlan(self.stream.n_layers, self.scope.pairs, self.scope.measured, reruns, passes, two_models)

    @cpu_by_default()
    def setup(self, stage: str) -> None:
        """Match every pair; no text and no language model is needed for it."""
        self.scope.refuse_unfit(text_of(self.trainer).fitting, self.stream.width(self.scope.site))
        for table in (UNMATCHED_FILE, SPLITS, LIVES) if self.trainer.is_global_zero else ():
            remove_table(self.around.folder / table)
        matcher = PairMatcher(
            self.collection,
            self.matcher,
            self.around.cache,
            self.scope.arms,
            self.settings.seed,
            self.around.watch_pair,
            self.trainer.strategy.root_device,
            self.settings.carry,
            self.settings.random_targets,
            self.settings.alpha,
            self.settings.relations,
        )
        for pair, found in matcher.all_of(self.scope.pairs, self.global_rank, self.trainer.world_size):
            self._look_at(pair, matcher)
            self.matchings[pair] = found
            log.info("layers %d and %d matched%s", *pair, evidence(found.matchings.get(MATCHED)))
            if self.trainer.is_global_zero:
                save_found(pair, found, self.around.folder, self.collection)
        if self.trainer.is_global_zero:
            matched = {pair: one.matchings[MATCHED] for pair, one in self.matchings.items() if MATCHED in one.matchings}
            save_unmatched(matched, self._widths, self.collection, self.around.folder / UNMATCHED_FILE)

    @cpu_by_default()
    @torch.no_grad()
    def on_validation_start(self) -> None:
        """Make the passes; each begins with its first batch, where a run that was killed has left it."""
        text, device = text_of(self.trainer), self.device
        free = float(free_memory(device))
        budget = free if self.settings.memory is None else self.settings.memory * GIGABYTE
        in_turn = InTurn(SAEShelf(self.collection, SHARE_OF_SAES * budget, device).open)
        self.open_sae = in_turn.open
        self.matchings = {pair: found.to(device) for pair, found in self.matchings.items()}
        scope, datasets = self.scope, list(dict.fromkeys(batch.dataset for batch in text.evaluated.batches))
        layout = scope.layout(self.stream, datasets, self._widths)
        processes = Processes.of(self.trainer)
        load = scope.load(self.stream, layout, text.evaluated.batches, len(processes.own(scope.pairs)))
        room = SHARE_OF_RESIDUALS * budget
        load = replace(load, groups=grouped(scope.pairs, load.residual_bytes(), room, layout.held))
        self.memory = MemoryPlan.of(load, load.blocks(device, free), budget, device)
        self.memory.say_what_does_not_fit(budget, free, load)
        self.state = State(
            Subject(
                self.stream,
                scope.site,
                in_turn.open,
                self.matchings,
                {},
                scope.measured,
                turn_to=in_turn.turn_to,
                blocks=self.memory.blocks,
                apart=scope.apart,
            ),
            self.matchings,
            layout,
            load.groups,
            device,
            processes,
        )
        batches = [int(number) for number in self.trainer.num_val_batches]
        kept = UnfinishedRun(self._identity(text, batches).file(self.around.cache.folder.parent / "validations"))
        related = {pair: found.related for pair, found in self.matchings.items() if found.related is not None}
        relatives = RelativesCollector(related, layout, self.settings.seed) if related else None
        self.activity = DocumentActivity(text.measured(batches[-1])) if scope.drifts else None
        causal = [CausalPass(self.state, self.settings, self._tell)] if self.settings.causal.asked else []
        activity = [] if self.activity is None else [self.activity]
        observers = [*self.around.observers, *activity, *(one.live for one in causal)]
        passes: list[Pass] = [
            SurveyPass(self.state, observers, self._tell, relatives),
            MeasuringPass(self.state, self.settings.seed, self._tell, self.collection.names),
            *causal,
        ]
        if self.needs_fitting:
            joining = Joining(
                self.collection, in_turn.open, in_turn.turn_to, self.matcher, self.settings.carry, self.around.cache
            )
            passes.insert(0, FittingPass(self.state, joining, lambda pair: kept.part(pair_name(pair)), self._tell))
        self.session = Session(passes, batches, kept)

    @cpu_by_default()
    def validation_step(self, batch: TokenBatch, batch_idx: int, dataloader_idx: int) -> None:
        """Take a batch to its pass."""
        name = self.session.passes[dataloader_idx].name
        with cast(Any, self.trainer).profiler.profile(f"[pass]{name}"):
            self.session.step(batch, batch_idx, dataloader_idx)
        log_now = partial(self.log_dict, on_step=True, on_epoch=False, add_dataloader_idx=False, batch_size=1)
        log_now({f"finished/{name}": float(batch_idx + 1)})
        if self.state.tally is not None and batch.documents and name == MeasuringPass.name:
            log_now({f"so_far/{key}": value for key, value in so_far(self.tally, batch.dataset).items()})

    @cpu_by_default()
    def on_validation_epoch_end(self) -> None:
        """Log what a sweep can optimise; what an interrupted run would go on from is not needed any more."""
        if not self.keeps_sums:
            self.forget()
        if self.objective is not None:
            self.log("objective", self.objective, rank_zero_only=True)
        say_what_was_limited(text_of(self.trainer), self.tally.documents)

    def forget(self) -> None:
        """Remove what the same validation would go on from: its results are written."""
        self.session.forget()

    def _tell(self, what: str, done: int, total: int) -> None:
        """Say what is being done. A trainer heeds a SIGTERM by itself between batches; here it does within one."""
        if self.trainer.received_sigterm:
            raise SIGTERMException
        self.around.watch(what, done, total)

    def _look_at(self, pair: Pair, matcher: PairMatcher) -> None:
        """Note what the SAEs of a pair are; none of them is held."""
        for end, sae in zip(self.collection.ends(pair), matcher.opened(pair), strict=True):
            refuse_other_width(self.stream, self.scope.site, end, sae.d_in)
            self._widths[end], self._hashes[end] = sae.d_sae, sae.content_hash()

    def _identity(self, text: ValidationText, batches: list[int]) -> SumsIdentity:
        """All that the sums follow from."""
        return SumsIdentity(
            settings={**asdict(self.settings), "arms": self.scope.arms, "memory": None},
            site=self.scope.site,
            precision=[str(self.trainer.precision), products(), self.stream.attention],
            device=self.device.type,
            matcher=self.matcher.identity(),
            saes=self._hashes,
            model=fingerprint(self.stream),
            share=[self.global_rank, self.trainer.world_size, *batches],
            text=text.evaluated.content_hash(),
            fitting=text.fitting.content_hash() if text.fitting and self.needs_fitting else "",
        )
