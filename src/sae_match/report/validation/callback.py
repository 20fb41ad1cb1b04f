"""Lightning callback that turns a finished validation into files, tables and W&B charts."""

from dataclasses import replace
from pathlib import Path

import lightning as L
from rich.console import Console

from sae_match.errors import stopped_while
from sae_match.evaluation.cautions import save_cautions
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.statistics.differences import Difference, differences_of, save_differences
from sae_match.evaluation.statistics.replicates import FILE as REPLICATES
from sae_match.evaluation.statistics.replicates import Replicates
from sae_match.evaluation.statistics.results import save_spans
from sae_match.evaluation.validation import MatchValidation
from sae_match.report.attempts import Attempts
from sae_match.report.console import collection_line, model_line
from sae_match.report.pair_tables import save_tables
from sae_match.report.picture import save_pictures
from sae_match.report.tracking.logger import Logger
from sae_match.report.tracking.records import log_files, log_validation
from sae_match.report.validation.causal import print_causal
from sae_match.report.validation.console import facts, print_cautions, print_files, print_plan, print_results
from sae_match.report.validation.drift import drift_tables, print_drift
from sae_match.report.validation.exploring import write_page
from sae_match.report.validation.features import save_features, with_labels
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.pictures import drawings
from sae_match.report.validation.provenance import print_provenance, save_provenance
from sae_match.report.validation.recording import record_of
from sae_match.report.validation.relatives import print_relatives, save_relatives
from sae_match.report.validation.significance import print_significance
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.descriptions import Descriptions
from sae_match.semantics.passages import Passages


class ValidationReport(L.Callback):
    """Prints the plan before anything is matched; writes and logs the results when validation is.

    Results come first. A picture, a page or a log that fails takes nothing with it, and is named at the end.

    Args:
        console: Where the plan and the tables go.
        folder: Run folder.
        text: The text that is validated on.
        model_source: Where the model comes from; of two, the source's and the target's.
        contexts: Where features fire, where the validation collects it.
        described: Published descriptions of features, and their pages, where they have any.
        pictures: Whether any are drawn.
    """

    def __init__(
        self,
        console: Console,
        folder: Path,
        text: ValidationText,
        model_source: str | tuple[str, str],
        contexts: Contexts | None = None,
        described: Descriptions | None = None,
        *,
        pictures: bool = True,
    ) -> None:
        self.console, self.folder, self.text, self.model_source = console, folder, text, model_source
        self.contexts, self.described, self.pictures = contexts, described, pictures

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            device = trainer.strategy.root_device
            print_plan(self.console, _validation(pl_module), self.text, self.model_source, device)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            with stopped_while(lambda: "writing tables and pictures"):
                self._report(trainer, _validation(pl_module))

    def _report(self, trainer: L.Trainer, module: MatchValidation) -> None:
        # What was measured first: pictures, pages and W&B are made of it, and can be made again.
        attempts = Attempts()
        results, spans = module.results, module.spans
        with attempts.of("results.csv"):
            results.save(self.folder / "results.csv")
        with attempts.of("spans.csv"):
            save_spans(spans, self.folder / "spans.csv")
        differences: list[Difference] = []
        with attempts.of("differences of arms"):
            differences = self._compared(module.replicates)
        outcome = None
        with attempts.of("what follows from the weights"):
            outcome = Outcome.of(module, self._passages(), results, spans)
        with attempts.of("tables in the terminal"):
            print_results(self.console, results, spans, differences)
        if outcome is not None:
            with attempts.of("what is truly matched, in the terminal"):
                print_significance(self.console, outcome.findings)
            with attempts.of("what became of the features, in the terminal"):
                print_relatives(self.console, outcome)
            with attempts.of("what drifted, in the terminal"):
                print_drift(self.console, outcome.drifts)
            with attempts.of("what partners do when features are switched off, in the terminal"):
                print_causal(self.console, outcome.causal)
            with attempts.of("where features come from, in the terminal"):
                print_provenance(self.console, outcome.provenance, outcome.of_provenance)
            outcome = self._save_rest(outcome, attempts)
            print_cautions(self.console, outcome.cautions)
            self._draw_and_log(outcome, module, trainer.logger, attempts)
        print_files(self.console, self.folder, trainer.logger)
        attempts.refuse_failed(self.folder)

    def _compared(self, replicates: Replicates) -> list[Difference]:
        """Differences of every two arms; written, as are the replicates that later comparisons are made of."""
        replicates.save(self.folder / REPLICATES)
        differences = list(differences_of(replicates))
        save_differences(differences, self.folder / "differences.csv")
        return differences

    def _save_rest(self, outcome: Outcome, attempts: Attempts) -> Outcome:
        """The other tables; returns what was found with labels beside pairs."""
        with attempts.of("results.csv with the numbers of weights"):
            outcome.everything().save(self.folder / "results.csv")
        with attempts.of("spans.csv with what significance says"):
            save_spans(outcome.all_spans(), self.folder / "spans.csv")
        with attempts.of("warnings.csv"):
            save_cautions(outcome.cautions, self.folder / "warnings.csv")
        with attempts.of("tables of features"):
            labels = save_features(outcome, self.folder / "features", self.described)
            outcome = replace(outcome, tables=with_labels(outcome, labels))
        with attempts.of("tables of pairs"):
            save_tables(outcome.tables, self.folder / "pairs", outcome.names)
        with attempts.of("tables of relatives"):
            save_relatives(outcome, self.folder)
        with attempts.of("tables of drift"):
            save_tables(drift_tables(outcome.drifts), self.folder / "drift", outcome.names)
        with attempts.of("tables of what features cause"):
            save_tables({} if outcome.causal is None else outcome.causal.tables, self.folder / "causal", outcome.names)
        with attempts.of("tables and graph of where features come from"):
            save_provenance(outcome.provenance, self.folder / "provenance")
        return outcome

    def _draw_and_log(
        self, outcome: Outcome, module: MatchValidation, logger: Logger | None, attempts: Attempts
    ) -> None:
        """Pictures, the page, W&B."""
        saved = save_pictures(drawings(outcome) if self.pictures else (), self.folder / "figures", attempts)
        with attempts.of("report.html"):
            title = f"{model_line(self.model_source)}, {collection_line(module.collection)}"
            write_page(outcome, self.folder, title, facts(module, self.text, self.model_source), self.described)
        with attempts.of("logging numbers and pictures"):
            record = record_of(
                outcome.logged(), outcome.logged_spans(), outcome.tables, outcome.cautions, outcome.names
            )
            log_validation(logger, record, saved, self.folder / "figures")
        with attempts.of("logging files"):
            log_files(logger, self.folder)

    def _passages(self) -> Passages | None:
        return (
            None
            if self.contexts is None
            else Passages(self.contexts, self.text.evaluated.batches, self.text.evaluated.tokenizer)
        )


def _validation(module: L.LightningModule) -> MatchValidation:
    if not isinstance(module, MatchValidation):
        raise TypeError(f"ValidationReport reports on MatchValidation, got {type(module).__name__}")
    return module
