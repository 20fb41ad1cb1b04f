"""Features grouped over layers by the matchings that join them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx

from sae_match.errors import UserError
from sae_match.matching.result import Matching

Member = tuple[int, int]
"""Layer and feature."""


@dataclass(frozen=True)
class Group:
    """Features that matchings make one.

    Attributes:
        name: What it is called.
        members: Layer and feature of each, ascending.
    """

    name: str
    members: tuple[Member, ...]

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of the members, each once."""
        return tuple(dict.fromkeys(layer for layer, _ in self.members))


def grouped_by(
    features: Iterable[Member], matchings: Mapping[tuple[int, int], Matching], names: Mapping[Member, str] | None = None
) -> list[Group]:
    """Group features: two are one where matchings lead from the one to the other, also through features in between.

    Each feature is in one group; one that no other is joined to is a group by itself. Which pairs count is what the
    matchings say: give those of significant pairs (`Significance.significant`).

    Args:
        features: Layer and feature.
        matchings: By pair of layers; a feature without a partner (-1) is where a path ends.
        names: What features are called; a group is called after its first member that has a name, else after its first.

    Raises:
        UserError: If a feature is not there.
    """
    chosen = sorted(set(features))
    _refuse_unknown(chosen, matchings)
    joined = networkx.Graph()
    joined.add_nodes_from(chosen)
    onward: dict[int, list[tuple[int, Matching]]] = {}
    for (source, target), matching in sorted(matchings.items()):
        onward.setdefault(source, []).append((target, matching))
    for start in chosen:
        waiting, seen = [start], {start}
        while waiting:
            layer, feature = waiting.pop()
            for target, matching in onward.get(layer, ()):
                partner = target, int(matching.permutation[feature])
                if partner[1] < 0 or partner in seen:
                    continue
                seen.add(partner)
                waiting.append(partner)
                if partner in joined:
                    joined.add_edge(start, partner)
    groups = sorted(sorted(one) for one in networkx.connected_components(joined))
    return [Group(_name(members, names or {}), tuple(members)) for members in groups]


def called(member: Member) -> str:
    """What a feature is called where it has no name: `L03/17`."""
    return f"L{member[0]:02d}/{member[1]}"


def _name(members: Sequence[Member], names: Mapping[Member, str]) -> str:
    return next((names[one] for one in members if one in names), called(members[0]))


def _refuse_unknown(features: Sequence[Member], matchings: Mapping[tuple[int, int], Matching]) -> None:
    """Check that features are of layers that are matched.

    Raises:
        UserError: If one is not.
    """
    if not matchings:
        raise UserError("groups are made of matchings: give some, as {(3, 4): significance(…).significant(0.05)}")
    layers = {layer for pair in matchings for layer in pair}
    widths = {source: len(matching.permutation) for (source, _), matching in matchings.items()}
    for layer, feature in features:
        if layer not in layers:
            said = ", ".join(map(str, sorted(layers)))
            raise UserError(f"feature {feature} of layer {layer}: no matching is of that layer; there are {said}")
        if feature < 0 or feature >= widths.get(layer, feature + 1):
            raise UserError(f"there is no feature {feature} of layer {layer}, which has {widths[layer]}")
