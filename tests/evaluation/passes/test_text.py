"""The data loaders of a validation: one for each pass that there is, and what a limit leaves of them."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger

from sae_match.errors import UserError
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.scope import Surroundings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.replicates import hashes_of
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.text.batches import TextData
from tests.evaluation.validating import TEXT, collection_of, fitting_text, text_of


@pytest.fixture
def validation(bundled_model, tmp_path):
    """A module with these arms, its text, and a trainer that may be told to do less."""
    data = text_of(bundled_model[1])
    text = ValidationText(data, fitting_text(bundled_model[1], data))

    def start(arms, **told):
        around = Surroundings(MatchingCache(tmp_path / "cache" / "matchings"), tmp_path)
        module = MatchValidation(
            bundled_model[0], collection_of(3, 4), MatcherSettings(), EvaluationSettings(arms=arms), around
        )
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return module, text, Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet, **told)

    return start


@pytest.mark.parametrize(
    ("arms", "batches", "passes"),
    [
        (["matched", "mean"], [2, 4, 4], ["fitting text", "surveying", "validating"]),
        (["matched"], [4, 4], ["surveying", "validating"]),
    ],
)
def test_each_pass_is_a_loader_and_one_that_no_arm_needs_is_absent(validation, arms, batches, passes):
    module, text, trainer = validation(arms)
    trainer.validate(module, text, verbose=False)
    assert trainer.num_val_batches == batches
    assert [one.name for one in module.session.passes] == passes
    # The delta loss of `matched` over the pairs of each dataset, as a mean over these.
    found = [row.value for row in module.results.select(arm="matched", metric="delta_loss")]
    assert len(found) == 2
    assert module.objective == pytest.approx(sum(found) / 2)
    assert float(trainer.callback_metrics["objective"]) == pytest.approx(module.objective, rel=1e-6)


def test_a_limit_leaves_as_many_batches_of_every_pass_and_the_log_says_how_few(validation, caplog):
    module, text, trainer = validation(["matched", "mean"], limit_val_batches=1)
    with caplog.at_level(logging.WARNING):
        trainer.validate(module, text, verbose=False)
    assert trainer.num_val_batches == [1, 1, 1]
    # One batch of two documents of the first dataset; the last batch of either has one.
    assert {(row.dataset, row.documents) for row in module.results} == {("prose", 2)}
    assert "numbers and intervals of prose are of 2 of its 3 documents" in caplog.text
    assert "trainer.limit_val_batches: nothing of code was read; datasets follow one another" in caplog.text
    row = module.results.select(arm="matched", metric="delta_loss").rows[0]
    assert row.low < row.value < row.high
    # What is kept says of which documents it is: of fewer than the whole, which is another text.
    kept, whole = module.replicates, hashes_of(text.evaluated.batches)
    assert (kept.documents, kept.texts) == ({"prose": 2, "code": 0}, hashes_of(text.evaluated.batches[:1]))
    assert kept.texts["prose"] != whole["prose"]


def test_what_all_processes_measure_is_what_each_is_dealt_up_to_the_limit(validation):
    _, text, _ = validation(["matched"])
    everything = text.evaluated.batches
    assert text.measured(4) == everything
    text.trainer = SimpleNamespace(world_size=3)
    dealt = [[0, 3], [1], [2]]
    assert [batch for batch in text.measured(2) if batch.documents] == [everything[n] for part in dealt for n in part]
    assert text.measured(1) == everything[:3]


def test_a_share_that_is_no_batch_is_one_line(validation):
    module, text, trainer = validation(["matched"], limit_val_batches=0.1)
    with pytest.raises(UserError, match=r"limit_val_batches=0.1 is not one batch of the 4 that each process has"):
        trainer.validate(module, text, verbose=False)


def test_each_pass_has_a_line_in_a_profile(validation):
    module, text, trainer = validation(["matched"], profiler="simple")
    trainer.validate(module, text, verbose=False)
    counted = {name: len(seconds) for name, seconds in trainer.profiler.recorded_durations.items()}
    assert (counted["[pass]surveying"], counted["[pass]validating"]) == (4, 4)


def test_what_is_finished_is_logged_as_it_goes(validation, tmp_path):
    module, text, trainer = validation(["matched", "layer_drop"])
    trainer.loggers = [CSVLogger(tmp_path, name="csv", version="")]
    trainer.validate(module, text, verbose=False)
    logged = (tmp_path / "csv" / "metrics.csv").read_text().splitlines()
    columns = set(logged[0].split(","))
    assert {"finished/surveying", "finished/validating", "objective"} <= columns
    assert {f"so_far/{dataset}/{arm}/delta_loss" for dataset in SETS for arm in ("matched", "layer_drop")} <= columns


SETS = tuple(TEXT.datasets)


def test_text_is_drawn_by_the_hook_that_one_process_has(bundled_model):
    evaluated = TextData(TEXT, bundled_model[1])
    other = TextData(replace(TEXT, documents=4), bundled_model[1], "fitting", apart_from=evaluated.works)
    text = ValidationText(evaluated, other)
    text.prepare_data()
    drawn = [text.evaluated.batches, other.batches]
    text.setup("validate")
    assert drawn == [text.evaluated.batches, other.batches]
    # It was drawn first, so that the other text could keep clear of it.
    assert all(not works & evaluated.works[name] for name, works in other.works.items())
    assert not text.prepare_data_per_node
