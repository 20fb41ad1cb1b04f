"""What a validation can be told to measure."""

import math
from dataclasses import dataclass, field

from sae_match.errors import UserError
from sae_match.evaluation.arms import ARMS


@dataclass
class EvaluationSettings:
    """What is measured.

    Attributes:
        arms: Names of arms; `clean` is always there.
        spans: Distances between source and target layer; 1 for neighbours.
        fitting_documents: Documents of each dataset for the arms that are fitted; none of them is
            evaluated.
        seed: Of the arm `random` and of the bootstrap.
        memory: Gigabytes for open SAEs and residuals; by default what is free. What does not fit is
            read, or computed, again.
    """

    arms: list[str] = field(default_factory=lambda: [*ARMS, "quantile_0.1", "quantile_0.5", "quantile_0.7"])
    spans: list[int] = field(default_factory=lambda: [1])
    fitting_documents: int = 64
    seed: int = 0
    memory: float | None = None


def refuse_impossible(settings: EvaluationSettings) -> None:
    """Check numbers.

    Raises:
        UserError: If one cannot be.
    """
    if settings.memory is not None and not 0 < settings.memory < math.inf:
        raise UserError(f"evaluation.memory must be a positive number of gigabytes, got {settings.memory}")
    if not 0 <= settings.seed < 2**62:
        raise UserError(f"evaluation.seed must lie in 0 … 2^62 - 1, got {settings.seed}")
