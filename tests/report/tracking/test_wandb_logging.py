"""What W&B says on its own, in a program of its own: it says things once a process."""

import os
import subprocess
import sys

import pytest

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
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    if switch is not None:
        environment["WANDB_DISABLE_WEAVE"] = switch
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ("Detected [openai] in use" in done.stderr) is advertised
    assert ("Weave" in done.stderr) is advertised
    assert "anything else" in done.stderr
    # As it was: weave, imported later, looks at it too.
    assert done.stdout.strip() == str(switch)
