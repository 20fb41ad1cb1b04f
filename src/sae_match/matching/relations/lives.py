"""Chains of relations over layers: where a feature comes from, how long it stays one, and what becomes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.relations.kinds import APPEAR, KINDS, MERGE, NOT_TESTED, ONE_TO_ONE, SPLIT
from sae_match.matching.relations.result import Relations

# Numbers behind those of `KINDS`: a life that begins with the first layer, or is not over with the last.
_FIRST, _LAST = len(KINDS), len(KINDS) + 1
#: How a life can begin, by number.
BIRTHS = {
    _FIRST: "first layer",
    APPEAR: "appears",
    SPLIT: "child of a split",
    MERGE: "merged from several",
    KINDS.index("many to many"): "many to many",
    NOT_TESTED: "not tested",
}
#: How it can end, by number.
DEATHS = {
    _LAST: "last layer",
    KINDS.index("end"): "ends",
    SPLIT: "splits",
    MERGE: "merges",
    KINDS.index("many to many"): "many to many",
    NOT_TESTED: "not tested",
}


@dataclass(frozen=True, eq=False)
class Lives:
    """Features over layers: every feature of every layer belongs to one life, which is one to one from layer to layer.

    In the order of the first layer, and of the feature there.

    Attributes:
        layers: In order; other tensors count them from zero.
        first: Layer that the life begins in.
        feature: Feature that it is there.
        last: Layer that it is last one and the same in.
        last_feature: Feature that it is there.
        birth: Number of how it begins, of `BIRTHS`: the kind of its relation to the layer before.
        death: Number of how it ends, of `DEATHS`: the kind of its relation to the layer behind.
        of: Life of each feature, by layer.
    """

    layers: tuple[int, ...]
    first: Int64[Tensor, " lives"]
    feature: Int64[Tensor, " lives"]
    last: Int64[Tensor, " lives"]
    last_feature: Int64[Tensor, " lives"]
    birth: Int64[Tensor, " lives"]
    death: Int64[Tensor, " lives"]
    of: tuple[Int64[Tensor, " _"], ...]

    def __len__(self) -> int:
        return len(self.first)

    def told(self, layer: int, feature: int) -> str:
        """What becomes of a feature, in words, such as "feature 7: child of a split at layer 3, splits at layer 14".

        Args:
            layer: One of the layers.
            feature: Of it.

        Raises:
            UserError: If there is no such layer or feature.
        """
        if layer not in self.layers:
            raise UserError(f"layer {layer} is not one of the chain's, {', '.join(map(str, self.layers))}")
        of = self.of[self.layers.index(layer)]
        if not 0 <= feature < len(of):
            raise UserError(f"layer {layer} has no feature {feature}; there are 0 to {len(of) - 1}")
        life = int(of[feature])
        # What becomes of it is seen in the layer behind the last one that it is itself in.
        end = self.layers[min(int(self.last[life]) + 1, len(self.layers) - 1)]
        birth, death = BIRTHS[int(self.birth[life])], DEATHS[int(self.death[life])]
        return f"feature {feature}: {birth} at layer {self.layers[int(self.first[life])]}, {death} at layer {end}"


def lives(layers: Sequence[int], relations: Sequence[Relations]) -> Lives:
    """The lives of all features of a chain of layers.

    Args:
        layers: At least two, in order.
        relations: Of neighbours, one fewer.

    Raises:
        UserError: If they are no chain.
    """
    _refuse_broken(layers, relations)
    sizes = [len(each.source_p) for each in relations] + [len(relations[-1].target_p)]
    of: list[Tensor] = []
    columns: list[Tensor] = []
    begun = 0
    for position, size in enumerate(sizes):
        before = relations[position - 1] if position else None
        own = torch.full((size,), -1)
        if before is not None:
            here, there = _links(before)
            own[there] = of[-1][here]
        born = (own < 0).nonzero().flatten()
        own[born] = begun + torch.arange(len(born))
        begun += len(born)
        birth = torch.full((len(born),), _FIRST) if before is None else before.target_kind[born]
        columns.append(torch.stack([torch.full_like(born, position), born, birth]))
        of.append(own)
    first, feature, birth = torch.cat(columns, 1)
    last, last_feature, death = _ends(of, relations, begun)
    return Lives(tuple(layers), first, feature, last, last_feature, birth, death, tuple(of))


def chains_of(relations: Mapping[tuple[int, int], Relations]) -> list[Lives]:
    """The lives over every chain of neighbouring layers that has at least two links.

    Args:
        relations: Of pairs of layers of one collection. Neighbours are layers of these with none of them in between.
    """
    layers = sorted({layer for pair in relations for layer in pair})
    runs: list[list[int]] = [layers[:1]]
    for pair in pairwise(layers):
        if pair in relations:
            runs[-1].append(pair[1])
        else:
            runs.append([pair[1]])
    return [lives(run, [relations[pair] for pair in pairwise(run)]) for run in runs if len(run) > 2]


def _ends(
    of: Sequence[Int64[Tensor, " _"]], relations: Sequence[Relations], count: int
) -> tuple[Int64[Tensor, " lives"], Int64[Tensor, " lives"], Int64[Tensor, " lives"]]:
    """Last layer of each life, what feature it is there, and how it ends."""
    last, last_feature, death = torch.full((3, count), -1)
    for position, life in enumerate(of):
        # Later layers write over earlier ones.
        last[life], last_feature[life] = position, torch.arange(len(life))
        death[life] = relations[position].source_kind if position < len(relations) else torch.full_like(life, _LAST)
    return last, last_feature, death


def _links(relations: Relations) -> tuple[Int64[Tensor, " links"], Int64[Tensor, " links"]]:
    """Source and target features that are one to one."""
    alone = relations.edge_kind == ONE_TO_ONE
    return relations.edges.source[alone], relations.edges.target[alone]


def _refuse_broken(layers: Sequence[int], relations: Sequence[Relations]) -> None:
    if len(relations) < 1 or len(layers) != len(relations) + 1:
        raise UserError(f"relations of {len(relations)} pairs of neighbours go with one layer more, got {len(layers)}")
    for number, (before, after) in enumerate(pairwise(relations), 1):
        if len(before.target_p) != len(after.source_p):
            raise UserError(
                f"relations lead to {len(before.target_p)} features of layer {layers[number]} and from "
                f"{len(after.source_p)} of them: not of one chain"
            )
