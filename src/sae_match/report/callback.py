"""Lightning callback that turns a finished validation into files, tables and W&B charts."""

from pathlib import Path

import lightning as L
from rich.console import Console

from sae_match.evaluation.arms import MATCHED
from sae_match.evaluation.results import save_spans
from sae_match.evaluation.validation import MatchValidation
from sae_match.report.console import print_plan, print_results
from sae_match.report.figures import pictures
from sae_match.report.pairs import pair_table, save_tables
from sae_match.report.wandb_logging import log_validation
from sae_match.text.batches import TextData


class ValidationReport(L.Callback):
    """Prints the plan before anything is matched; writes and logs the results when validation is.

    Args:
        console: Where the plan and the tables go.
        folder: Run folder.
        data: The text that is validated on.
        model_source: What the plan calls the model.
    """

    def __init__(self, console: Console, folder: Path, data: TextData, model_source: str) -> None:
        self.console, self.folder, self.data, self.model_source = console, folder, data, model_source

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            device = trainer.strategy.root_device
            print_plan(self.console, _validation(pl_module), self.data, self.model_source, device)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        module = _validation(pl_module)
        results, spans = module.results, module.spans
        results.save(self.folder / "results.csv")
        save_spans(spans, self.folder / "spans.csv")
        drawn = list(pictures(results, spans))
        for picture in drawn:
            picture.save(self.folder / "figures")
        matched = {pair: found for pair, found in module.matchings.items() if MATCHED in module.arms}
        pairs = {pair: pair_table(pair, found, module.tally) for pair, found in matched.items()}
        save_tables(pairs, self.folder / "pairs")
        log_validation(trainer.logger, results, spans, pairs, drawn, self.folder / "figures")
        print_results(self.console, results, spans, self.folder, trainer.logger)


def _validation(module: L.LightningModule) -> MatchValidation:
    if not isinstance(module, MatchValidation):
        raise TypeError(f"ValidationReport reports on MatchValidation, got {type(module).__name__}")
    return module
