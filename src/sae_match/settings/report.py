"""What a comparison of runs, and a dashboard for them, can be told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from sae_match.errors import UserError
from sae_match.files import refuse_no_folder
from sae_match.report.tracking.settings import LoggerSettings


@dataclass
class FinishedRuns:
    """Runs that something is made of.

    Attributes:
        logger: Where it is logged.
        runs: Folder, or list of folders, in which finished runs are looked for.
        output_dir: Where it is written.
    """

    logger: LoggerSettings
    runs: Any = None
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        folders_of(self.runs)

    @property
    def folders(self) -> list[Path]:
        """The folders that `runs` names.

        Raises:
            UserError: If it names none.
        """
        return folders_of(self.runs)

    def refuse_missing(self) -> None:
        """Refuse folders that are not there, before libraries are loaded to read them.

        Raises:
            UserError: If there is one.
        """
        for folder in self.folders:
            refuse_no_folder(folder)


@dataclass
class ReportSettings(FinishedRuns):
    """Everything that `scripts/report.py` can be told.

    Attributes:
        logger: Where the comparison is logged.
        runs: A folder of runs, or a list of some: of single runs, of sweeps, or of anything that holds some.
        arms: Arms that tables and pictures show; `matched` if there is none, all of a single run.
        metrics: Metrics that they show; those of the ladder if there is none.
        over: Settings over which means and intervals are taken as well, of runs that differ in nothing else:
            `sae.source` of SAEs that were trained with several seeds.
        output_dir: Where the comparison is written.
    """

    arms: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)


@dataclass
class DashboardSettings(FinishedRuns):
    """Everything that `scripts/dashboard.py` can be told.

    Attributes:
        logger: The project, and whether it can be reached.
        runs: As in `ReportSettings`: what they have logged is what is laid out.
        name: Of the workspace.
        output_dir: Where the layout is written if W&B is offline.
    """

    name: str = "SAE Match"


def folders_of(runs: object) -> list[Path]:
    """A folder or a list of folders as paths.

    Raises:
        UserError: If there is none.
    """
    named: list[object] = runs if isinstance(runs, list) else [runs]
    paths = [Path(name).expanduser() for name in named if isinstance(name, str) and name]
    if not named or len(paths) < len(named):
        raise UserError(f"runs must be a folder or a list of folders such as [DIR1,DIR2], got {runs!r}")
    return paths
