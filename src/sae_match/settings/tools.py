"""What the tools beside the method can be told: the benchmark, and the look into the cache."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from sae_match.errors import UserError

# Of a model of Gemma 2 2B's depth. BOS and two tokens, of which one is predicted.
_PAIRS, _FEWEST_TOKENS = 25, 3


@dataclass
class BenchmarkSettings:
    """Everything that `scripts/benchmark.py` can be told.

    Attributes:
        cases: Names of the cases that are measured; all of them if there is none.
        seed: Of the planted dictionaries; the first one where there are several.
        seeds: Of the cases `significance` and `relations`: how many dictionaries of each kind they are measured on.
        kept: Folder in which `significance` keeps each seed that it has finished, and finds it again; by default one
            in the output folder.
        pairs: Of the case `scale`: pairs of neighbouring layers, from the middle of the model's 26; 25 are all.
        tokens: Of the same: tokens of each of its 200 documents.
        output_dir: Where the figures are written.
    """

    cases: list[str] = field(default_factory=list)
    seed: int = 0
    seeds: int = 5
    kept: str | None = None
    pairs: int = 25
    tokens: int = 32
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"seeds must be at least 1, got {self.seeds}")
        if not 1 <= self.pairs <= _PAIRS or self.tokens < _FEWEST_TOKENS:
            raise UserError(
                f"pairs must be 1 to {_PAIRS} and tokens at least {_FEWEST_TOKENS}, got {self.pairs} and {self.tokens}"
            )


@dataclass
class CacheSettings:
    """Everything that `scripts/cache.py` can be told.

    Attributes:
        cache_dir: The folder that was given to programs as `cache_dir`; the user's cache folder if none is given.
        remove: Kinds that are removed: `matchings`, `unfinished`, `leftovers`, `validations`, `neuronpedia`.
        older_than: Days; what was written since stays.
        output_dir: Where this program leaves its own files.
    """

    cache_dir: str | None = None
    remove: list[str] = field(default_factory=list)
    older_than: float = 0.0
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        if not self.older_than >= 0:
            raise UserError(f"older_than must be a number of days, at least 0, got {self.older_than}")
