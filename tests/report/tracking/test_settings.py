import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.report.tracking.settings import LoggerSettings

UNKNOWN = [
    ({"kind": "tensorboard"}, "logger.kind must be one of wandb, csv, none, got 'tensorboard'"),
    ({"mode": "maybe"}, "logger.mode must be one of auto, online, offline, got 'maybe'"),
]


@pytest.mark.parametrize(("given", "message"), UNKNOWN)
def test_unknown_loggers_are_refused(given, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        LoggerSettings(**given)


@pytest.mark.parametrize(("given", "message"), UNKNOWN)
def test_so_are_those_of_a_config(given, message):
    config = OmegaConf.merge(OmegaConf.structured(LoggerSettings), given)
    with pytest.raises(UserError, match=f"^{message}$"):
        OmegaConf.to_object(config)


def test_settings_import_nothing_heavy():
    program = (
        "import sys, sae_match; before = set(sys.modules); import sae_match.report.tracking.settings; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - {'sae_match'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= set(sys.stdlib_module_names)
