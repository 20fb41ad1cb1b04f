"""The programs: what each is told by, and the module of its body, which is imported when its settings are checked."""

import gc
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from sae_match.errors import UserError
from sae_match.owned import claim, refuse_foreign
from sae_match.report.explorer.replacing import refuse_foreign_page
from sae_match.report.sweeps import COMPARED
from sae_match.settings.configs import config_folder
from sae_match.settings.entry import entry_point, without_bars
from sae_match.settings.jobs import INTERRUPTED
from sae_match.settings.judge import JudgeStudySettings
from sae_match.settings.match import MatchSettings
from sae_match.settings.processes import is_helper
from sae_match.settings.report import DashboardSettings, FinishedRuns, ReportSettings
from sae_match.settings.schema import TrainSettings, ValidateSettings
from sae_match.settings.tools import BenchmarkSettings, CacheSettings
from sae_match.terminal import Terminal
from sae_match.training.language_model.settings import LanguageModelSettings
from sae_match.training.sae_settings import SAETrainingSettings


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        settings: What its config, `conf/NAME.yaml`, composes to.
        about: What it does, in a line.
        choices: Further schemas by name, of groups whose choices differ in kind.
        leaves: Names of all that it may write into its folder, as patterns.
        leaves_page: Whether it leaves the explorer's page there as well, which has its own marks.
        instead: Name of the module that runs in place of the program's own, by the setting that asks for it.
    """

    settings: type[Any]
    about: str
    choices: Mapping[str, type[Any]] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    leaves_page: bool = False
    instead: Mapping[str, str] = field(default_factory=dict)


#: Every program by its name, which is that of its config, of its module here and of its script.
PROGRAMS = {
    "validate": Program(
        ValidateSettings,
        "match the SAEs of adjacent layers and validate the matchings on text",
        leaves=(
            "results.csv",
            "spans.csv",
            "differences.csv",
            "replicates.safetensors",
            "warnings.csv",
            "figures",
            "pairs",
            "features",
            "matchings",
            "significance",
            "relations",
            "drift",
            "causal",
            "steering",
            "groups",
            "unmatched.csv",
            "splits.csv",
            "lives.csv",
            "csv",
            "*profile*",
        ),
        leaves_page=True,
        instead={"check": "check", "steers": "steer"},
    ),
    "match": Program(
        MatchSettings,
        "match the SAEs of pairs of layers, from the weights alone",
        leaves=(
            "matchings.csv",
            "composition.csv",
            "unmatched.csv",
            "splits.csv",
            "lives.csv",
            "pairs",
            "matchings",
            "significance",
            "relations",
        ),
    ),
    "train": Program(
        TrainSettings,
        "train SAEs for any causal language model, or the bundled language model",
        {"language_model": LanguageModelSettings, "saes": SAETrainingSettings},
        leaves=("csv", "*profile*"),
    ),
    "judge": Program(
        JudgeStudySettings,
        "ask a judge whether matched features mean the same",
        leaves=("results.csv", "spans.csv", "judgements.csv", "judgements_*.csv", "agreement.csv", "figures", "csv"),
    ),
    "report": Program(ReportSettings, "compare finished validations: tables and pictures", leaves=COMPARED),
    "dashboard": Program(DashboardSettings, "lay out a W&B workspace for validations", leaves=("workspace.json",)),
    "benchmark": Program(
        BenchmarkSettings,
        "measure what is claimed about speed, memory and exactness",
        leaves=("benchmark.csv", "benchmark.md"),
    ),
    "cache": Program(CacheSettings, "show what is kept between runs, and remove what is not wanted any more"),
}


def program(name: str) -> Callable[[], None]:
    """The program of a name, to be called without arguments: it reads its own from the command line.

    Args:
        name: One of `PROGRAMS`.
    """
    one = PROGRAMS[name]

    @entry_point(config_folder() / f"{name}.yaml", one.settings, **one.choices)
    def main(settings: Any) -> Any:
        if not is_helper():
            if one.leaves_page:
                refuse_foreign_page(Path(settings.output_dir))
            if (training := getattr(settings, "training", None)) is not None:
                # Before the run's folder is marked, which may be the same.
                refuse_foreign(Path(settings.destination), training.leaves, "destination")
            if isinstance(settings, FinishedRuns):
                settings.refuse_missing()
            claim(Path(settings.output_dir), one.leaves)
        module = next((other for asked, other in one.instead.items() if getattr(settings, asked)), name)
        # In a notebook rich would ask for a package more; a file is told nothing.
        with Terminal(stderr=True, force_jupyter=False).status("loading libraries"):
            body = _body(f"{__name__}.{module}")
        without_bars()
        return body.main(settings)

    return main


def run(name: str, *told: str) -> None:
    """Run a program from Python, as in a notebook's cell: `run("validate", "experiment=quick")`; the kernel lives on.

    Args:
        name: One of `PROGRAMS`.
        told: What its command line would hold.

    Raises:
        UserError: If the program does not end well, with what it says.
        KeyboardInterrupt: If it is interrupted.
    """
    if name not in PROGRAMS:
        raise UserError(f"no program {name!r}; there are {', '.join(PROGRAMS)}")
    before, handlers, level = sys.argv, list(logging.getLogger().handlers), logging.getLogger().level
    # Hydra reads the command line, which here is a kernel's.
    sys.argv = [name, *told]
    try:
        program(name)()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            raise KeyboardInterrupt from stop
        if stop.code not in (0, None):
            said = stop.code if isinstance(stop.code, str) else f"{name} ended with status {stop.code}"
            raise UserError(said.removeprefix("error: ")) from stop
    finally:
        sys.argv = before
        # Hydra's log file and lines are those of its program alone.
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)


def _body(module: str) -> ModuleType:
    """A program's module, imported without a look for garbage among what stays to the end.

    The collector would go through the libraries' hundreds of thousands of objects many times while they are imported,
    and again when the program ends: a third of what importing torch takes.
    """
    if module in sys.modules:
        # A later job of a sweep: what the one before has left behind is garbage.
        return sys.modules[module]
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        if was_collecting:
            gc.enable()
