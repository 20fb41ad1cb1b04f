"""Made-up relations of many features, for the explorer's reach."""

import numpy as np
import torch

from sae_match.evaluation.relations.overlap import Overlap, Shares
from sae_match.matching.relations.kinds import Components
from sae_match.matching.relations.result import Edges, Relations, RelationsEvidence

_WITHOUT_PARENT, _WITHOUT_CHILD, _WITH_ANOTHER = 0.3, 0.05, 0.03


def made_up_relations(n_source: int, n_target: int, generator: np.random.Generator) -> Relations:
    """Source features split into as many target features as chance gives them; some of these have a second parent."""
    parents = np.flatnonzero(generator.random(n_source) >= _WITHOUT_CHILD)
    children = np.flatnonzero(generator.random(n_target) >= _WITHOUT_PARENT)
    second = children[generator.random(len(children)) < _WITH_ANOTHER]
    target = np.concatenate([children, second])
    pairs = torch.from_numpy(np.unique(np.stack([generator.choice(parents, len(target)), target], 1), axis=0))
    source, other = pairs.T.contiguous()
    near = torch.from_numpy(generator.uniform(0.2, 1, len(pairs)))
    some = torch.from_numpy(generator.random(len(pairs)) < n_source / n_target)
    edges = Edges(source, other, near, near * 0.9, near * 0, near * 0.01, some, ~some, some)
    evidence = RelationsEvidence("shape", "mean cosine", 8, 0, 0.05, 0.1, n_source, n_target, 0.2, 0.2, 0)
    source_p, target_p = (torch.zeros(size, dtype=torch.float64) for size in (n_source, n_target))
    return Relations(edges, Components.of(source, other, n_source, n_target), source_p, target_p, evidence)


def made_up_overlap(relations: Relations, generator: np.random.Generator) -> Overlap:
    """What such relatives could do on a text."""
    containment = _shares(len(relations.edges), generator)
    return Overlap(containment, _shares(len(relations.components.kind), generator), {}, {}, 300)


def _shares(size: int, generator: np.random.Generator) -> Shares:
    value, tokens = torch.from_numpy(generator.random(size)), torch.from_numpy(generator.integers(0, 2000, size))
    return Shares(value, value, value, value / 10, tokens)
