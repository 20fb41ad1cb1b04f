import io
import logging

import pytest
from lightning import Trainer
from rich.console import Console

import sae_match.progress
from sae_match.training.progress import TrainingProgress
from tests.training.made_up import Draws, planted, untrained


def shown(terminal, **changes):
    """What is printed in a short training of layers 3 and 4."""
    _, x = planted(tokens=500)
    given = {"layers": [3, 4], "l0": [2.0, 3.0], "steps": 12, "batch": 64, **changes}
    training = untrained(x, **given)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, height=30)
    progress = TrainingProgress(console, training.settings)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=12,
        log_every_n_steps=6,
        logger=False,
        callbacks=[progress],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with progress.shown():
        progress.doing("collecting activations", 1, 4)
        trainer.fit(training, Draws(x, 2, 64, 12))
    return progress, console.file.getvalue()


def test_the_table_holds_what_was_logged_last_and_ends_at_the_last_step():
    progress, printed = shown(terminal=True)
    assert list(progress.standing) == [3, 4]
    for layer, aim in ((3, "2"), (4, "3")):
        standing = progress.standing[layer]
        row = [str(layer), aim, f"{standing.l0:.1f}", f"{standing.explained_variance:.3f}", f"{standing.dead:.0f}"]
        assert row in [line.split() for line in printed.splitlines()]
    assert "12/12" in printed


def test_the_table_is_drawn_in_place_and_stands_once_at_the_end():
    _, printed = shown(terminal=True)
    # Each drawing but the first begins by going up to the beginning of the one before.
    assert printed.count("L0 aimed at") - 1 <= printed.count("\x1b[1A\x1b[2K") // 3


@pytest.mark.parametrize(("silence", "lines"), [(0.0, 12), (1000.0, 0)])
def test_without_a_terminal_a_line_is_logged_now_and_then(monkeypatch, caplog, silence, lines):
    monkeypatch.setattr(sae_match.progress, "SILENCE", silence)
    with caplog.at_level(logging.INFO, logger="sae_match"):
        _, printed = shown(terminal=False)
    found = [record.getMessage() for record in caplog.records if record.getMessage().startswith("step")]
    assert (len(found), printed) == (lines, "")
    if lines:
        assert found[0] == "step 1 of 12"
        assert found[-1].startswith("step 12 of 12: L0 ")
