"""Which features hang together, and what such a component is called."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

ONE_TO_ONE, SPLIT, MERGE, MANY_TO_MANY, APPEAR, END, NOT_TESTED = range(7)
#: Names of kinds, by number. The first four are of components, the others of single features.
KINDS = ("one to one", "split", "merge", "many to many", "appear", "end", "not tested")


@dataclass(frozen=True, eq=False)
class Components:
    """Connected components of the edges, in the order of their first source feature.

    Attributes:
        of_source: Component of each source feature; -1 without an edge.
        of_target: Component of each target feature; -1 without an edge.
        sources: Source features of each.
        targets: Target features of each.
        kind: Number of each one's kind.
    """

    of_source: Int64[Tensor, " n_source"]
    of_target: Int64[Tensor, " n_target"]
    sources: Int64[Tensor, " components"]
    targets: Int64[Tensor, " components"]
    kind: Int64[Tensor, " components"]

    @classmethod
    def of(
        cls, source: Int64[Tensor, " edges"], target: Int64[Tensor, " edges"], n_source: int, n_target: int
    ) -> "Components":
        """Those that edges between the features of two sides make."""
        size = n_source + n_target
        ends = (source.numpy(), n_source + target.numpy())
        graph = coo_array((np.ones(len(source), dtype=np.int8), ends), shape=(size, size))
        label = torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))
        has_edge = torch.zeros(size, dtype=torch.bool)
        has_edge[source], has_edge[n_source + target] = True, True
        # By first source feature: every component with an edge has one, and sources stand before targets.
        order, number = torch.full((size,), -1), 0
        labels = label[:n_source][has_edge[:n_source]].numpy()
        first = np.unique(labels, return_index=True)
        number = len(first[0])
        order[torch.from_numpy(first[0][np.argsort(first[1], kind="stable")])] = torch.arange(number)
        of = torch.where(has_edge, order[label], -1)
        of_source, of_target = of[:n_source], of[n_source:]
        sources, targets = (torch.bincount(side[side >= 0], minlength=number) for side in (of_source, of_target))
        return cls(of_source, of_target, sources, targets, kind_of(sources, targets))


def kind_of(
    sources: Int64[Tensor, " components"], targets: Int64[Tensor, " components"]
) -> Int64[Tensor, " components"]:
    """Number of the kind of components of so many features of either side."""
    several = torch.where(targets > 1, MANY_TO_MANY, MERGE)
    single = torch.where(targets > 1, SPLIT, ONE_TO_ONE)
    return torch.where(sources > 1, several, single)
