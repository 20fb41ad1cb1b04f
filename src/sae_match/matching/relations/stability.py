"""Which features do other seeds find again?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.significance.result import ALPHA, Significance
from sae_match.matching.significance.settings import refuse_impossible_alpha


@dataclass(frozen=True, eq=False)
class Stability:
    """How many other dictionaries have a significant partner for each feature of one.

    Attributes:
        seeds: Other dictionaries that each feature was tested against.
        found: Of these, those in which its partner is significant.
    """

    seeds: Int64[Tensor, " features"]
    found: Int64[Tensor, " features"]

    @property
    def share(self) -> Float64[Tensor, " features"]:
        """Share of the seeds that have it; nan of what was never tested."""
        return self.found.double() / self.seeds

    @property
    def in_none(self) -> Bool[Tensor, " features"]:
        """Features that were tested and that no other seed has."""
        return (self.seeds > 0) & (self.found == 0)

    @property
    def in_all(self) -> Bool[Tensor, " features"]:
        """Features that every other seed has."""
        return (self.seeds > 0) & (self.found == self.seeds)


def stability(significances: Sequence[Significance], alpha: float = ALPHA) -> Stability:
    """Shares of seeds, from the judged matchings that lead from one dictionary to those of other seeds.

    Args:
        significances: Of matchings with the same source, one for each other seed.
        alpha: Level at which a partner is significant.

    Raises:
        UserError: If there are none, they have unlike numbers of features or come from unlike dictionaries, or the
            level is impossible.
    """
    refuse_impossible_alpha(alpha)
    sizes = {len(each.p) for each in significances}
    if len(sizes) != 1:
        found = ", ".join(map(str, sorted(sizes))) or "none"
        raise UserError(f"matchings from one dictionary to other seeds have as many features each, got {found}")
    sources = {each.matching.provenance.get("source", "") for each in significances} - {""}
    if len(sources) > 1:
        raise UserError("the matchings come from several dictionaries: stability is that of one against other seeds")
    tested = torch.stack([each.tested for each in significances])
    # What has no partner has no q, and is not found.
    found_again = torch.stack([each.q <= alpha for each in significances]) & tested
    return Stability(tested.sum(0), found_again.sum(0))


def fifths(values: Float64[Tensor, " features"], among: Bool[Tensor, " features"], parts: int = 5) -> list[Tensor]:
    """Features in parts of equal size by a value, the smallest first; those of equal value stay in their order.

    Args:
        values: Of each feature, such as how often it is active.
        among: Features that are put into parts; of unknown value they are in none.
        parts: How many.
    """
    index = (among & ~values.isnan()).nonzero().flatten()
    index = index[values[index].argsort(stable=True)]
    masks = []
    for part in index.tensor_split(parts):
        mask = torch.zeros_like(among)
        mask[part] = True
        masks.append(mask)
    return masks
