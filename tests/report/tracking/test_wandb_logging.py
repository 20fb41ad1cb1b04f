"""What W&B says on its own, in a program of its own: it says things once a process."""

import pytest

from tests import programs

PROGRAM = """
import os, sys
from pathlib import Path
import openai
import wandb
from sae_match.report.tracking.wandb_logging import open_logger
from sae_match.report.tracking.settings import LoggerSettings
with open_logger(LoggerSettings(mode="offline"), Path(sys.argv[1]), {}):
    wandb.termlog("anything else")
print(os.environ.get("WANDB_DISABLE_WEAVE"))
"""


@pytest.mark.parametrize(("switch", "advertised"), [(None, False), ("true", False), ("false", True)])
def test_another_product_is_not_advertised_unless_the_user_asks_for_it(switch, advertised, tmp_path):
    told = {} if switch is None else {"WANDB_DISABLE_WEAVE": switch}
    done = programs.run("-c", PROGRAM, tmp_path, environment=programs.quiet_environment(**told))
    assert done.returncode == 0, done.stderr
    assert ("Detected [openai] in use" in done.stderr) is advertised
    assert ("Weave" in done.stderr) is advertised
    assert "anything else" in done.stderr
    # As it was: weave, imported later, looks at it too.
    assert done.stdout.strip() == str(switch)
