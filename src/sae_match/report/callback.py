"""Lightning callback that turns a finished validation into files, tables and W&B charts."""

from pathlib import Path

import lightning as L
from rich.console import Console

from sae_match.evaluation.validation import MatchValidation
from sae_match.report.console import print_plan, print_results
from sae_match.report.figures import draw
from sae_match.report.tables import pair_rows
from sae_match.report.wandb_logging import log_validation
from sae_match.text.batches import TextData


class ValidationReport(L.Callback):
    """Prints the plan when matching is done; writes and logs the results when validation is.

    Args:
        folder: Run folder.
        model_source: What the plan calls the model.
        console: Where the plan and the tables go.
    """

    def __init__(self, folder: Path, model_source: str, console: Console | None = None) -> None:
        self.folder, self.model_source = folder, model_source
        self.console = console or Console()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            assert isinstance(pl_module, MatchValidation)
            assert isinstance(trainer.datamodule, TextData)  # type: ignore[attr-defined]
            print_plan(self.console, pl_module, trainer.datamodule, self.model_source)  # type: ignore[attr-defined]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, MatchValidation)
        results = pl_module.results
        results.save(self.folder / "results.csv")
        figures = draw(results, self.folder / "figures")
        pairs = pair_rows(pl_module.tally, pl_module.matchings)
        log_validation(trainer.logger, results, pairs, figures)
        print_results(self.console, results, self.folder, trainer.logger)
