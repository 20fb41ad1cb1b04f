"""A process that does a share of another one's work, started and told on standard input by `settings/processes`."""

import logging
import pickle
import sys
from importlib import import_module

from sae_match.homes import have_a_home
from sae_match.settings.entry import exit_statuses, heeding_sigterm, interrupted_again, quieten, without_bars
from sae_match.settings.processes import one_job

# As Hydra's.
_LINE = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"


def main() -> None:
    """Run the program that the first process runs, on the settings that it has."""
    # From the process that has started this one.
    program, settings = pickle.load(sys.stdin.buffer)
    logging.basicConfig(format=_LINE, stream=sys.stdout)
    have_a_home()
    quieten()
    with interrupted_again(), exit_statuses(), heeding_sigterm(), one_job():
        body = import_module(f"sae_match.commands.{program}")
        without_bars()
        body.main(settings)
