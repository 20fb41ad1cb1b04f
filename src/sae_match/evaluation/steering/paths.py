"""Paths: a feature followed through layers by matchings, beside the paths that it is held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import MATCHED, NEAREST
from sae_match.evaluation.causal.drawing import one_of, uniform
from sae_match.evaluation.causal.sample import RANDOM_LIVE
from sae_match.matching.composition import feature_paths
from sae_match.matching.result import Matching

#: A path whose first step goes to another feature that is active in the document, and that follows the matchings from
#: there on: a true path, but not this feature's.
BROKEN = "broken"
#: All that a path is held against, after itself, in the order of their columns.
ARMS = (MATCHED, NEAREST, RANDOM_LIVE, BROKEN)


@dataclass(frozen=True, eq=False)
class Paths:
    """How features of neighbouring layers are linked.

    Attributes:
        layers: Ascending.
        matched: Matching of each two that follow one another.
        nearest: The nearest feature of the next layer, one-to-one or not; likewise.
    """

    layers: tuple[int, ...]
    matched: tuple[Matching, ...]
    nearest: tuple[Matching, ...]

    @classmethod
    def of(
        cls, matched: Mapping[tuple[int, int], Matching], nearest: Mapping[tuple[int, int], Matching] | None = None
    ) -> "Paths":
        """Of matchings by pair of layers.

        Raises:
            UserError: If they do not follow one another, or there are none.
        """
        pairs = sorted(matched)
        if not pairs:
            raise UserError("a path goes over two layers at least: give a matching, as {(3, 4): match(l3, l4)}")
        if any(first[1] != second[0] for first, second in pairwise(pairs)) or any(a >= b for a, b in pairs):
            raise UserError(f"matchings of a path follow one another, as (3, 4), (4, 5); got {pairs}")
        # A path is where matchings lead, as `compose` has it, so what it refuses is refused here.
        feature_paths([matched[pair] for pair in pairs])
        other = matched if nearest is None else nearest
        layers = (pairs[0][0], *(target for _, target in pairs))
        return cls(layers, tuple(matched[pair] for pair in pairs), tuple(other[pair] for pair in pairs))

    def refuse_pathless(self, layer: int, feature: int) -> None:
        """Check that a path begins at a feature.

        Raises:
            UserError: If there is no such feature, it is of the last layer, or has no partner.
        """
        if layer not in self.layers:
            raise UserError(
                f"no matching starts from layer {layer}; there are layers {', '.join(map(str, self.layers))}"
            )
        if layer == self.layers[-1]:
            raise UserError(f"feature {feature} of layer {layer}: no path begins in the last layer, {layer}")
        width = len(self.matched[self.layers.index(layer)].permutation)
        if not 0 <= feature < width:
            raise UserError(f"there is no feature {feature} of layer {layer}, which has {width}")
        if int(self.matched[self.layers.index(layer)].permutation[feature]) < 0:
            raise UserError(
                f"feature {feature} of layer {layer} has no partner in layer {self.after(layer)[0]}: a path has one "
                "step at least"
            )

    def after(self, layer: int) -> tuple[int, ...]:
        """Layers behind one."""
        return self.layers[self.layers.index(layer) + 1 :]

    def followed(self, layer: int, features: Int64[Tensor, " n"], *, nearest: bool = False) -> Int64[Tensor, "n steps"]:
        """Where features of a layer go, layer by layer behind it; -1 from where a path ends on."""
        found, links = [], (self.nearest if nearest else self.matched)[self.layers.index(layer) :]
        for link in links:
            permutation = torch.cat([link.permutation.cpu(), torch.full((1,), -1)])
            features = permutation[features]
            found.append(features)
        return torch.stack(found, 1) if found else features.new_zeros(len(features), 0)


def arms_in(
    paths: Paths,
    start: tuple[int, int],
    live: Sequence[Bool[Tensor, "rows d_sae"]],
    seed: int,
    dataset: str,
    documents: Sequence[int],
) -> Int64[Tensor, "arms rows steps"]:
    """The features of each arm's path in each of some documents, behind the first layer; -1 for none.

    Args:
        paths: How features are linked.
        start: Layer and feature.
        live: Of each layer behind it, which features are active in each document.
        seed: Of all draws.
        dataset: Name of the dataset.
        documents: Their numbers.
    """
    layer, feature = start
    rows = len(documents)
    fixed = [paths.followed(layer, torch.tensor([feature]), nearest=near).expand(rows, -1) for near in (False, True)]
    drawn = []
    for step, active in enumerate(live):
        others = active.cpu().clone()
        own = fixed[0][:, step]
        others[torch.arange(rows)[own >= 0], own[own >= 0]] = False
        name = f"{RANDOM_LIVE} of {layer}/{feature} in {step}, {dataset}"
        drawn.append(one_of(others, torch.from_numpy(uniform(seed, name, list(documents)))))
    # Those whose path goes on, so that a broken path is no shorter for being broken.
    others = live[0].cpu() & (paths.followed(paths.after(layer)[0], torch.arange(live[0].shape[1])) >= 0).all(1)
    others[:, fixed[0][0, 0]] = False
    first = one_of(
        others, torch.from_numpy(uniform(seed, f"{BROKEN} of {layer}/{feature}, {dataset}", list(documents)))
    )
    broken = torch.cat([first[:, None], paths.followed(paths.after(layer)[0], first)], 1)
    return torch.stack([*fixed, torch.stack(drawn, 1), broken])
