import io

import lightning as L
from rich.console import Console

from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.validation.progress import MatchingBar


def test_a_validation_shows_the_bar_until_it_starts_or_fails():
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = L.LightningModule()
    for end in (
        lambda bar: bar.on_validation_start(trainer, module),
        lambda bar: bar.on_exception(trainer, module, ValueError()),
    ):
        progress = MatchingProgress(Console(file=io.StringIO(), force_terminal=True))
        bar = MatchingBar(progress)
        bar.setup(trainer, module, "validate")
        assert progress.progress.live.is_started
        end(bar)
        assert not progress.progress.live.is_started
