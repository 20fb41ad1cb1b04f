"""Where a run's metrics go besides its folder, as settings."""

from dataclasses import dataclass, field

from sae_match.errors import UserError

_KINDS = ("wandb", "csv", "none")
_MODES = ("auto", "online", "offline")


@dataclass
class LoggerSettings:
    """Where a run's metrics go besides its folder.

    Attributes:
        kind: `wandb`, `csv` or `none`.
        mode: `online`, `offline`, or `auto`: online where W&B has credentials, offline otherwise;
            the environment variable `WANDB_MODE` decides before it.
        project, entity, group, name, job_type, tags: As in `wandb.init`.
    """

    kind: str = "wandb"
    mode: str = "auto"
    project: str = "sae-match"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        refuse_unknown_logger(self)


def refuse_unknown_logger(settings: LoggerSettings) -> None:
    """Refuse a kind or a mode that there is not.

    Raises:
        UserError: If it is one.
    """
    if settings.kind not in _KINDS:
        raise UserError(f"logger.kind must be one of {', '.join(_KINDS)}, got {settings.kind!r}")
    if settings.mode not in _MODES:
        raise UserError(f"logger.mode must be one of {', '.join(_MODES)}, got {settings.mode!r}")
