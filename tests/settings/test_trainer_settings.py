"""What the trainer group takes: every argument of Lightning's trainer, or one line on why not."""

import inspect
from dataclasses import fields

import pytest
from lightning import Trainer

from sae_match.errors import UserError
from sae_match.settings.schema import TrainerSettings

TAKEN = {
    "num_nodes": 2,
    "limit_val_batches": 0.5,
    "log_every_n_steps": 5,
    "enable_model_summary": True,
    "deterministic": "warn",
    "benchmark": True,
    "inference_mode": False,
    "detect_anomaly": True,
    "barebones": True,
    "enable_autolog_hparams": False,
}
ARGUMENTS = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
SETTINGS = {field.name for field in fields(TrainerSettings)}
REFUSED = sorted(ARGUMENTS - set(TAKEN) - {"accelerator", "devices", "strategy", "precision", "profiler"})


def test_every_argument_of_lightning_is_a_setting_and_there_is_one_more():
    assert {"progress"} == SETTINGS - ARGUMENTS
    assert ARGUMENTS <= SETTINGS


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_set_is_what_lightning_is_given(name):
    value = TAKEN[name]
    assert TrainerSettings(**{name: value}).given() == {"num_nodes": 1, name: value}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_what_to_do_instead(name):
    with pytest.raises(UserError, match=rf"trainer\.{name}=1 is not for these programs: \w+"):
        TrainerSettings(**{name: 1})


@pytest.mark.parametrize("limit", [0, 0.0, -1, 1.5, True, "all"])
def test_a_limit_that_leaves_nothing_or_is_no_number_is_refused(limit):
    with pytest.raises(UserError, match=f"trainer.limit_val_batches={limit} must be a number of batches from 1 on"):
        TrainerSettings(limit_val_batches=limit)


@pytest.mark.parametrize("limit", [1, 7, 0.1, 1.0])
def test_a_number_or_a_share_of_batches_is_a_limit(limit):
    assert TrainerSettings(limit_val_batches=limit).given()["limit_val_batches"] == limit


def test_no_machine_is_refused():
    with pytest.raises(UserError, match=r"trainer.num_nodes must be at least 1, got 0"):
        TrainerSettings(num_nodes=0)
