"""What a matching without a model can be told."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from sae_match.errors import UserError
from sae_match.evaluation.settings import refuse_other_than_pairs
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.settings import (
    ROTATIONS,
    random_targets_of,
    refuse_impossible_judging,
)
from sae_match.saes.settings import SAESettings

ADJACENT, ALL = "adjacent", "all"


@dataclass
class MatchSettings:
    """Everything that `scripts/match.py` can be told.

    Attributes:
        target: Another collection, whose SAEs pairs lead to; none for pairs within `sae`.
        pairs: `adjacent`, `all`, or a list of pairs of layers such as `[[0,1],[2,5]]`. Of two collections, `adjacent`
            pairs each layer that both have with itself.
        shard: Which of `shards` this run does, from zero.
        shards: Number of parts that the pairs are dealt out to.
        rotations: Random targets that each matching is judged against, which says what share of the features is truly
            matched; each takes as long as a matching. Zero: none is judged.
        alpha: Level at which a pair counts as significant: of the significant pairs, at most this share is wrong.
        relations: Whether it is told what became of every feature: one to one, split, merged, new or gone. Takes as
            long again as the matching.
        progress: Whether progress is shown.
        output_dir: Where the run leaves its files.
        cache_dir: Folder in which matchings are kept between runs; `matchings` in the user's cache folder if none
            is given.
    """

    sae: SAESettings
    matcher: MatcherSettings
    target: SAESettings | None = None
    pairs: Any = ADJACENT
    shard: int = 0
    shards: int = 1
    rotations: int = ROTATIONS
    alpha: float = 0.05
    relations: bool = False
    progress: bool = True
    output_dir: str = MISSING
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.shard < self.shards:
            raise UserError(f"shard must lie in 0 … shards - 1, got shard={self.shard} and shards={self.shards}")
        refuse_impossible_judging(self.rotations, self.alpha)
        if self.pairs not in (ADJACENT, ALL):
            refuse_other_than_pairs(self.pairs, "adjacent, all or ")

    @property
    def random_targets(self) -> int:
        """Random targets that each matching is judged against."""
        return random_targets_of(self.rotations, self.relations)

    @property
    def compares(self) -> bool:
        """Whether the run sees all pairs, so that chains of neighbours can be compared with direct matchings."""
        return self.pairs == ALL and self.shards == 1 and self.target is None
