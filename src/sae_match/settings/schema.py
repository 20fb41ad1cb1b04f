"""What a validation or a training can be told."""

from dataclasses import dataclass, field
from typing import Any, cast

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from sae_match.errors import UserError
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.matching.matching import MatcherSettings
from sae_match.model.loading import ModelSettings
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.descriptions import DescriptionSettings
from sae_match.settings.saes import MISSING, SAESettings
from sae_match.text.batches import TextSettings


@dataclass
class TrainerSettings:
    """Lightning's trainer.

    Attributes:
        accelerator: `auto`, `cpu`, `gpu`, …
        devices: Number of devices, or `auto`.
        strategy: `auto`, `ddp`, …
        precision: Lightning's precision; the model's own dtype is set with the model.
        progress: Whether a progress bar is shown.
    """

    accelerator: str = "auto"
    devices: Any = 1
    strategy: str = "auto"
    precision: str = "32-true"
    progress: bool = True

    def trainer(self, **arguments: Any) -> L.Trainer:
        """A trainer with these settings and further arguments.

        Raises:
            UserError: If Lightning cannot run that way on this machine.
        """
        try:
            return L.Trainer(
                accelerator=self.accelerator,
                devices=self.devices,
                strategy=self.strategy,
                precision=cast(Any, self.precision),
                **arguments,
            )
        except (MisconfigurationException, ValueError) as error:
            raise UserError(f"trainer settings: {str(error).splitlines()[0]}") from error


@dataclass
class ContextSettings:
    """Where features fire: what a validation collects for its pictures and its page, besides its numbers.

    Attributes:
        contexts: Documents kept of each feature, in which it is strongest; 0 to collect no text at all.
        sample: Tokens sampled of each feature, for what it fires on.
    """

    contexts: int = 8
    sample: int = 24

    def collector(self, seed: int) -> Contexts | None:
        """What collects where features fire; none where nothing is wanted.

        Raises:
            UserError: If a number is negative, or there is nothing to sample.
        """
        if self.contexts < 0 or (self.contexts and self.sample < 1):
            raise UserError(
                f"report.contexts must not be negative and report.sample must be at least 1, "
                f"got {self.contexts} and {self.sample}"
            )
        return Contexts(self.contexts, self.sample, seed) if self.contexts else None


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
