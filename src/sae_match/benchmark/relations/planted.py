"""Two dictionaries whose features are known to stay, split, merge, end or appear; and where they are active."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sae_match.matching.relations.kinds import APPEAR, END, MERGE, ONE_TO_ONE, SPLIT
from sae_match.saes.sae import SAE

_ENCODER_NOISE, _LOWEST_BIAS, _THRESHOLD_SPREAD = 0.7, -2.0, 0.5
#: Features that one splits into, or that merge into one.
FEWEST, MOST = 2, 5


@dataclass(frozen=True)
class Fates:
    """How dictionaries are made.

    Attributes:
        strength: Cosine of a feature's decoder and its relative's.
        one_to_one: Features that stay.
        split: Source features that split, each into two to five.
        merge: Target features that two to five source features merge into.
        end: Source features without a relative.
        appear: Target features without a relative.
        crowding: Directions spread over dimension `i` as `i^-crowding`.
    """

    strength: float
    one_to_one: int
    split: int
    merge: int
    end: int
    appear: int
    crowding: float = 0.35

    @classmethod
    def of(cls, strength: float, size: int, crowding: float = 0.35) -> "Fates":
        """About so many features a side: two in five stay, one in five ends or appears, the others split or merge."""
        families = size // 20
        return cls(strength, 2 * size // 5, families, families, size // 5, size // 5, crowding)

    @classmethod
    def unrelated(cls, size: int, crowding: float = 0.35) -> "Fates":
        """So many features a side, none of which has a relative."""
        return cls(0.0, 0, 0, 0, size, size, crowding)


@dataclass(frozen=True, eq=False)
class PlantedRelations:
    """Two dictionaries, and the truth about them.

    Attributes:
        source: One dictionary.
        target: The other.
        source_kind: Number of each source feature's kind.
        target_kind: Number of each target feature's kind.
        source_family: A number that relatives share; -1 of a feature without any.
        target_family: The same of target features.
    """

    source: SAE
    target: SAE
    source_kind: Int64[Tensor, " n_source"]
    target_kind: Int64[Tensor, " n_target"]
    source_family: Int64[Tensor, " n_source"]
    target_family: Int64[Tensor, " n_target"]


def planted_relations(fates: Fates, d_in: int, seed: int) -> PlantedRelations:
    """Dictionaries in which features have these fates.

    A relative's decoder is `strength` times the feature it comes from plus a direction of its own; encoders are
    decoders plus noise; the features of both sides are shuffled. Merging is splitting, seen from the other side.

    Args:
        fates: Of the features.
        d_in: Width of activations.
        seed: Of all that is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(FEWEST, MOST + 1, (n,), generator=generator) for n in (fates.split, fates.merge)]
    stay, ends, appears = (torch.ones(n, dtype=torch.int64) for n in (fates.one_to_one, fates.end, fates.appear))
    # How many source and target features each family has.
    sources = torch.cat([stay, torch.ones_like(drawn[0]), drawn[1]])
    targets = torch.cat([stay, drawn[0], torch.ones_like(drawn[1])])
    number = torch.arange(len(sources))
    kinds = torch.tensor([ONE_TO_ONE, SPLIT, MERGE]).repeat_interleave(
        torch.tensor([fates.one_to_one, fates.split, fates.merge])
    )
    families = [
        torch.cat([number.repeat_interleave(size), torch.full((len(rest),), -1)])
        for size, rest in ((sources, ends), (targets, appears))
    ]
    of_kind = [
        torch.cat([kinds, torch.tensor([alone])])[family] for family, alone in zip(families, (END, APPEAR), strict=True)
    ]
    draw = _Drawing(d_in, fates.crowding, generator)
    roots = draw.directions(len(number))
    sides = []
    for family, several in zip(families, (MERGE, SPLIT), strict=True):
        # What there is one of is the family's own direction; of what stays, the target's is the relative.
        moved = torch.cat([(kinds == several) | ((kinds == ONE_TO_ONE) & (several == SPLIT)), torch.tensor([True])])
        fresh = draw.directions(len(family))
        kept = torch.where(family >= 0, fates.strength, 0.0)[:, None]
        related = kept * torch.cat([roots, roots.new_zeros(1, d_in)])[family] + (1 - kept.square()).sqrt() * fresh
        own = torch.cat([roots, roots.new_zeros(1, d_in)])[family]
        sides.append(torch.where(moved[family][:, None], _unit(related), own))
    saes, orders = zip(*(draw.dictionary(rows) for rows in sides), strict=True)
    return PlantedRelations(
        saes[0],
        saes[1],
        *(kind[order] for kind, order in zip(of_kind, orders, strict=True)),
        *(family[order] for family, order in zip(families, orders, strict=True)),
    )


class _Drawing:
    """Draws directions and what else dictionaries have."""

    def __init__(self, d_in: int, crowding: float, generator: torch.Generator) -> None:
        self.d_in, self.generator = d_in, generator
        self.scale = torch.arange(1, d_in + 1, dtype=torch.float32).pow(-crowding)

    def directions(self, n: int) -> Float[Tensor, "n d_in"]:
        return _unit(torch.randn(n, self.d_in, generator=self.generator) * self.scale)

    def dictionary(self, rows: Float[Tensor, "n d_in"]) -> tuple[SAE, Int64[Tensor, " n"]]:
        """An SAE with these decoder rows in another order, and that order."""
        n = len(rows)
        order = torch.randperm(n, generator=self.generator)
        rows = rows[order]
        encoder = rows + _ENCODER_NOISE * self.directions(n)
        threshold = torch.exp(_THRESHOLD_SPREAD * torch.randn(n, generator=self.generator))
        bias = _LOWEST_BIAS * torch.rand(n, generator=self.generator)
        return SAE(encoder.T.contiguous(), bias, rows, torch.zeros(self.d_in), threshold), order


def planted_activity(
    planted: PlantedRelations, tokens: int, seed: int, rate: float = 0.02
) -> tuple[Bool[Tensor, "tokens n_source"], Bool[Tensor, "tokens n_target"]]:
    """Where features are active: the parts of a family share its tokens out, each token to one of them.

    Features without relatives are active on their own, as often as families are.

    Args:
        planted: The dictionaries.
        tokens: How many.
        seed: Of what is drawn.
        rate: Share of the tokens on which a family is active.
    """
    generator = torch.Generator().manual_seed(seed)
    families = int(planted.source_family.max()) + 1
    on = torch.rand(tokens, families, generator=generator) < rate
    sides = []
    for family in (planted.source_family, planted.target_family):
        active = torch.rand(tokens, len(family), generator=generator) < rate
        order = family.argsort(stable=True)
        start = torch.searchsorted(family[order], torch.arange(families))
        size = torch.bincount(family[family >= 0], minlength=families)
        # Which of a family's parts has a token.
        turn = (torch.rand(tokens, families, generator=generator) * size).long()
        place = torch.full((len(family),), -1)
        place[order] = torch.arange(len(family)) - start[family[order].clamp_min(0)]
        has = family >= 0
        active[:, has] = on[:, family[has]] & (turn[:, family[has]] == place[has])
        sides.append(active)
    return sides[0], sides[1]


def _unit(rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return unit
