"""Where a run's metrics go besides its folder, as settings."""

import os
from dataclasses import dataclass, field

from sae_match.errors import UserError
from sae_match.strings import in_a_line

_KINDS = ("wandb", "csv", "none")
_MODES = ("auto", "online", "offline")
# Those of the environment variable, as W&B knows them.
_MODES_OF_WANDB = ("online", "offline", "disabled", "shared", "dryrun", "run")
_PROJECT = "sae-match"
# Characters of a tag that W&B takes.
_LONGEST_TAG = 64


@dataclass
class LoggerSettings:
    """Where a run's metrics go besides its folder.

    Attributes:
        kind: `wandb`, `csv` or `none`.
        mode: `online`, `offline`, or `auto`: online where W&B has credentials, offline otherwise;
            the environment variable `WANDB_MODE` decides before it.
        project: As in `wandb.init`; where none is given, the environment variable `WANDB_PROJECT` decides, and where
            that is not set either, it is `sae-match`.
        entity, group, name, job_type, tags: As in `wandb.init`.
    """

    kind: str = "wandb"
    mode: str = "auto"
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        refuse_unknown_logger(self)

    @property
    def chosen_project(self) -> str:
        """The project that is logged to."""
        return self.project or os.environ.get("WANDB_PROJECT") or _PROJECT


def refuse_unknown_logger(settings: LoggerSettings) -> None:
    """Refuse a kind or a mode that there is not, and tags that W&B does not take.

    Raises:
        UserError: If there is one.
    """
    if settings.kind not in _KINDS:
        raise UserError(f"logger.kind must be one of {', '.join(_KINDS)}, got {settings.kind!r}")
    if settings.mode not in _MODES:
        raise UserError(f"logger.mode must be one of {', '.join(_MODES)}, got {settings.mode!r}")
    for tag in settings.tags:
        if not 1 <= len(tag) <= _LONGEST_TAG:
            raise UserError(
                f"logger.tags: a tag has 1 to {_LONGEST_TAG} characters, {in_a_line(repr(tag), 40)} has {len(tag)}"
            )
    # An empty variable is none.
    mode = os.environ.get("WANDB_MODE")
    if settings.kind == "wandb" and mode and mode not in _MODES_OF_WANDB:
        raise UserError(
            f"the environment variable WANDB_MODE must be one of {', '.join(_MODES_OF_WANDB)}, or not set, "
            f"got {in_a_line(repr(mode), 80)}"
        )
