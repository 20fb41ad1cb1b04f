"""What a validation or a training can be told."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from sae_match.errors import UserError
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.matching.settings import MatcherSettings
from sae_match.model.settings import ModelSettings
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.saes.settings import SAESettings
from sae_match.semantics.settings import ContextSettings, DescriptionSettings
from sae_match.text.settings import TextSettings

# Lightning's names of the precision that changes nothing.
_EXACT = ("32-true", "32")


@dataclass
class TrainerSettings:
    """Lightning's trainer.

    Attributes:
        accelerator: `auto`, `cpu`, `gpu`, …
        devices: Number of devices, or `auto`.
        strategy: `auto`, `ddp`, …; none that starts processes by `spawn` or `fork`, which would have to be told all
            that was opened.
        precision: Lightning's precision, of trainings; the model's own dtype is set with the model.
        progress: Whether a progress bar is shown.
    """

    accelerator: str = "auto"
    devices: Any = 1
    strategy: str = "auto"
    precision: str = "32-true"
    progress: bool = True

    def __post_init__(self) -> None:
        if any(way in self.strategy for way in ("spawn", "fork", "notebook")):
            raise UserError(f"trainer.strategy={self.strategy} is not supported: take ddp")


@dataclass
class ValidateSettings:
    """Everything that `scripts/validate.py` can be told.

    Attributes:
        output_dir: Where the run leaves its files.
        cache_dir: Folder in which matchings are kept between runs; `matchings` in the user's cache folder if none
            is given. Beside it stand `validations`, what unfinished runs go on from, and `neuronpedia`, descriptions.
        check: Only say what the run would need and take, and what is missing.
    """

    model: ModelSettings
    sae: SAESettings
    matcher: MatcherSettings
    text: TextSettings
    evaluation: EvaluationSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    report: ContextSettings = field(default_factory=ContextSettings)
    descriptions: DescriptionSettings = field(default_factory=DescriptionSettings)
    output_dir: str = MISSING
    cache_dir: str | None = None
    check: bool = False

    def __post_init__(self) -> None:
        if str(self.trainer.precision) not in _EXACT:
            raise UserError(
                f"trainer.precision={self.trainer.precision} would change what a validation measures: leave it at "
                "32-true; model.dtype=bfloat16 says what the model itself is run in"
            )


@dataclass
class TrainSettings:
    """Everything that `scripts/train.py` can be told.

    Attributes:
        training: Settings of the training that is run: of a language model or of SAEs.
        destination: Folder that the trained model or SAEs are written to.
    """

    model: ModelSettings
    text: TextSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    training: Any = MISSING
    destination: str = MISSING
    output_dir: str = MISSING
