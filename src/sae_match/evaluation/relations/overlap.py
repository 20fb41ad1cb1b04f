"""Do the activities of relatives lie in one another? Containment and coverage on text, against random features.

*Containment* of a pair: of the tokens on which the child is active, the share on which its parent is. *Coverage* of a
component: of the tokens on which the parent is active, the share on which any of its children is. What often fires is
often there by chance, so each has a control: the same child with random parents that are as often active as its own,
the same parent with random sets of children, each as often active as one of its own.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import csc_array, csr_array, hstack
from torch import Tensor

from sae_match.bootstrap import ROWS, bootstrap_weights, intervals
from sae_match.errors import UserError
from sae_match.evaluation.relations.activity import PairedActivity
from sae_match.evaluation.relations.controls import as_frequent
from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.matching.relations.kinds import APPEAR, KINDS, MANY_TO_MANY, MERGE
from sae_match.matching.relations.result import Relations

Summed = Callable[[Tensor], Tensor]
"""Adds up what every process has, in every process; a process that has a text to itself leaves it as it is."""

#: Random features, or sets of them, that stand for each.
DRAWS = 8
# Columns of a block, of which every token's activity is looked up.
_COLUMNS = 1024


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of some activities, each with its 95 % interval over documents and its control.

    Attributes:
        value: The share; nan where there is no activity.
        low: Lower end of the interval; nan where there is none.
        high: Upper end.
        control: The mean share with random features; nan where there are none.
        tokens: Tokens that the share is of.
    """

    value: Float64[Tensor, " n"]
    low: Float64[Tensor, " n"]
    high: Float64[Tensor, " n"]
    control: Float64[Tensor, " n"]
    tokens: Int64[Tensor, " n"]

    @property
    def enough(self) -> Bool[Tensor, " n"]:
        """Whether there are tokens enough for the share to say something."""
        return self.tokens >= FEWEST_ACTIVATIONS


@dataclass(frozen=True)
class MeanShare:
    """A mean over pairs or components of a kind that are active often enough, and have a control.

    Attributes:
        of: How many.
        share: Mean share.
        control: Mean share with random features.
        difference: The former less the latter, by the replicates of both.
    """

    of: int
    share: Estimate
    control: Estimate
    difference: Estimate


@dataclass(frozen=True, eq=False)
class Overlap:
    """What the relatives of two dictionaries do on a dataset.

    Attributes:
        containment: Of each edge. The parent of a merge is the target feature, of every other kind the source feature.
        coverage: Of each component; none of those with several features on both sides.
        mean_containment: Over the edges of each kind, by the kind's name.
        mean_coverage: Over the components of each kind.
        documents: That intervals are over.
    """

    containment: Shares
    coverage: Shares
    mean_containment: dict[str, MeanShare]
    mean_coverage: dict[str, MeanShare]
    documents: int


def alone(sums: Tensor) -> Tensor:
    """What a process that has the text to itself adds up."""
    return sums


def overlap(
    relations: Relations, activity: PairedActivity, *, dataset: str, seed: int = 0, summed: Summed = alone
) -> Overlap:
    """Containment and coverage of all relatives.

    Several processes that share a text find the same numbers as one: what they add up are whole numbers.

    Args:
        relations: Of the source and the target.
        activity: Of both on the tokens of a dataset, or on this process's share of them.
        dataset: Its name: replicates are those of all other numbers of that dataset.
        seed: Of the bootstrap and of random features.
        summed: Adds up over processes, in each at the same step.

    Raises:
        UserError: If the activity is of other dictionaries, or there is no token.
    """
    sides = len(relations.source_p), len(relations.target_p)
    if (activity.source.n_features, activity.target.n_features) != sides:
        raise UserError(
            f"the activity is of {activity.source.n_features} and {activity.target.n_features} features, "
            f"the relations are of {sides[0]} and {sides[1]}"
        )
    tokens, documents = summed(torch.tensor([activity.tokens, len(activity.documents)])).tolist()
    if not tokens:
        raise UserError("there is no token on which features could be active; give some text")
    counter = _Counter(relations, activity, seed, summed)
    weights = bootstrap_weights(dataset, activity.documents, seed)
    edge_kind, kind = relations.edge_kind, relations.components.kind
    containment, by_edge = _shares(counter.containment(), weights, edge_kind, summed)
    kind = torch.where(kind == MANY_TO_MANY, -1, kind)
    coverage, by_component = _shares(counter.coverage(), weights, kind, summed)
    return Overlap(containment, coverage, by_edge, by_component, documents)


_Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""By document: tokens of the whole, of these with the part, and the same with random ones as a mean over draws."""


class _Counter:
    """Counts tokens by document, in blocks of edges or components; target features are numbered behind the source's."""

    def __init__(self, relations: Relations, activity: PairedActivity, seed: int, summed: Summed) -> None:
        self.relations, sides = relations, activity.matrices()
        self.documents = activity.by_document()
        # [tokens, n_source + n_target]
        self.active = csc_array(hstack(sides, format="csc"))
        edges, components = relations.edges, relations.components
        merged = (relations.edge_kind == MERGE).numpy()
        behind = (0, len(relations.source_p))
        ends = edges.source.numpy(), edges.target.numpy() + behind[1]
        self.parent, self.child = np.where(merged, ends[1], ends[0]), np.where(merged, ends[0], ends[1])
        of = components.of_source.numpy(), components.of_target.numpy()
        tested = relations.source_tested.numpy(), relations.target_tested.numpy()
        random = []
        for side in (0, 1):
            own = np.asarray(sides[side].sum(0)).ravel().astype(np.int64)
            counts = summed(torch.from_numpy(own)).numpy()
            drawn = as_frequent(ends[side] - behind[side], counts, of[side], tested[side], DRAWS, seed + side)
            random.append(np.where(drawn >= 0, drawn + behind[side], -1))
        self.random_parent = np.where(merged[:, None], random[1], random[0])
        self.random_child = np.where(merged[:, None], random[0], random[1])

    def containment(self) -> Iterator[_Counts]:
        """Of the edges, in order."""
        for at in _blocks(len(self.parent)):
            child = self._columns(self.child[at])
            drawn = (child.multiply(self._columns(draw)) for draw in self.random_parent[at].T)
            yield self._counts(child, child.multiply(self._columns(self.parent[at])), drawn, self.random_parent[at])

    def coverage(self) -> Iterator[_Counts]:
        """Of the components, in order; of one of its parents where a component has several."""
        component = self.relations.edge_component.numpy()
        order = np.argsort(component, kind="stable")
        starts = np.searchsorted(component[order], np.arange(len(self.relations.components.kind) + 1))
        for at in _blocks(len(starts) - 1):
            edges = order[starts[at.start] : starts[at.stop]]
            group, n = component[edges] - at.start, at.stop - at.start
            member = csr_array((np.ones(len(group), dtype=np.int32), (np.arange(len(group)), group)), (len(group), n))
            parent = self._columns(self.parent[order[starts[at]]])
            # A component is as well known as the least known of its children.
            known = np.zeros((n, DRAWS), dtype=np.int64)
            np.minimum.at(known, group, self.random_child[edges])
            drawn = (parent.multiply(self._any(draw, member)) for draw in self.random_child[edges].T)
            yield self._counts(parent, parent.multiply(self._any(self.child[edges], member)), drawn, known)

    def _counts(
        self, whole: csc_array, part: csc_array, drawn: Iterator[csc_array], known: Int64[np.ndarray, "n draws"]
    ) -> _Counts:
        """Tokens by document; those with random features are not known where one of these is -1."""
        counts = [(self.documents @ columns).toarray().astype(np.float64) for columns in (whole, part)]
        control = sum(((self.documents @ columns).toarray() for columns in drawn), np.zeros(counts[0].shape))
        return counts[0], counts[1], np.where((known >= 0).all(1), control / DRAWS, np.nan)

    def _columns(self, features: Int64[np.ndarray, " n"]) -> csc_array:
        """`[tokens, n]`, one where a feature was active; of the last one where there is none."""
        return csc_array(self.active[:, features])

    def _any(self, features: Int64[np.ndarray, " n"], member: csr_array) -> csc_array:
        """`[tokens, groups]`, one where any feature of a group was active."""
        found = csc_array(self._columns(features) @ member)
        found.data = np.minimum(found.data, 1)
        return found


def _shares(
    counted: Iterator[_Counts], weights: Float64[Tensor, "rows documents"], kind: Int64[Tensor, " n"], summed: Summed
) -> tuple[Shares, dict[str, MeanShare]]:
    """Shares one by one, and their means by kind; what is of kind -1 has none."""
    n = len(kind)
    columns = torch.full((4, n), math.nan, dtype=torch.float64)
    tokens = torch.zeros(n, dtype=torch.int64)
    sums = torch.zeros(APPEAR, 2, ROWS, dtype=torch.float64)
    of = torch.zeros(APPEAR, 1, ROWS, dtype=torch.float64)
    start = 0
    for whole, both, drawn in counted:
        at = slice(start, start + whole.shape[1])
        start = at.stop
        below, above, control = summed(torch.stack([weights @ torch.from_numpy(each) for each in (whole, both, drawn)]))
        share, chance = (above / below).T, (control / below).T
        has = kind[at] >= 0
        ends = [(math.nan, math.nan) if end is None else end for end in intervals(share)]
        columns[:2, at] = torch.tensor(ends, dtype=torch.float64).T
        columns[2, at], columns[3, at] = share[:, 0], chance[:, 0]
        tokens[at] = below[0].long()
        columns[:, at][:, ~has] = math.nan
        counts = has & (tokens[at] >= FEWEST_ACTIVATIONS) & ~chance[:, 0].isnan()
        # A replicate without any of these documents says nothing of the feature.
        known = (~share.isnan())[counts].double()
        parts = torch.stack([share[counts].nan_to_num(0.0), chance[counts].nan_to_num(0.0)], 1)
        sums.index_add_(0, kind[at][counts], parts)
        of.index_add_(0, kind[at][counts], known[:, None])
    means = {name: _mean(sums[number], of[number, 0]) for number, name in enumerate(KINDS[:APPEAR]) if of[number, 0, 0]}
    return Shares(columns[2], columns[0], columns[1], columns[3], tokens), means


def _mean(sums: Float64[Tensor, "two rows"], of: Float64[Tensor, " rows"]) -> MeanShare:
    share, control = sums / of
    return MeanShare(int(of[0]), Estimate.of(share), Estimate.of(control), Estimate.of(share - control))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _COLUMNS, n)) for start in range(0, n, _COLUMNS))
