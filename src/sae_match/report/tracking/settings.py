"""Where a run's metrics go. Settings alone: nothing heavy is imported, so that programs start quickly."""

from dataclasses import dataclass, field

from sae_match.errors import UserError

KINDS = ("wandb", "csv", "none")
MODES = ("auto", "online", "offline")


@dataclass
class LoggerSettings:
    """Where a run's metrics go besides its folder.

    Attributes:
        kind: `wandb`, `csv` or `none`.
        mode: `online`, `offline`, or `auto`: online where W&B has credentials, offline otherwise;
            the environment variable `WANDB_MODE` decides before it.
        project, entity, group, name, job_type, tags: As in `wandb.init`.

    Raises:
        UserError: If the kind or the mode does not exist.
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
        if self.kind not in KINDS:
            raise UserError(f"logger.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.mode not in MODES:
            raise UserError(f"logger.mode must be one of {', '.join(MODES)}, got {self.mode!r}")
