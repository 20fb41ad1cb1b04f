"""What the benchmark can be told."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class BenchmarkSettings:
    """Everything that `scripts/benchmark.py` can be told.

    Attributes:
        cases: Names of the cases that are measured; all of them if there is none.
        seed: Of the planted dictionaries.
        output_dir: Where the figures are written.
    """

    cases: list[str] = field(default_factory=list)
    seed: int = 0
    output_dir: str = MISSING
