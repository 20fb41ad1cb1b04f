"""Relations: a chunk for each pair of layers, read when it is looked at."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from sae_match.evaluation.relations.overlap import Shares
from sae_match.matching.relations.result import MOST_DRAWN
from sae_match.report.explorer.data import RelationsData


def packed_relations(given: RelationsData) -> bytes:
    """Little-endian, one array after another.

    Of each edge `source`, `target` and `component` (int32), `statistic`, `whitened` and `q` (float32). For each
    dataset, of each edge containment and its control (float32) and the tokens that it is of (uint32), and of each
    component coverage and its control (float32). Then bytes: of each edge whether it is matched, and the kind of each
    component, source and target feature. Edges are by source and target feature; what is not known is nan.
    """
    relations = given.relations
    edges, components = relations.edges, relations.components
    whole = (edges.source, edges.target, relations.edge_component)
    arrays = [array.numpy(force=True).astype("<i4") for array in whole]
    arrays += [_real(edges.statistic), _real(edges.whitened), _real(edges.q)]
    for overlap in given.overlaps.values():
        arrays += _shares(overlap.containment)
        arrays += [overlap.containment.tokens.numpy(force=True).astype("<u4"), *_shares(overlap.coverage)]
    small = (edges.matched, components.kind, relations.source_kind, relations.target_kind)
    arrays += [array.numpy(force=True).astype("u1") for array in small]
    return b"".join(array.tobytes() for array in arrays)


def about_relations(given: RelationsData, layers: Sequence[int]) -> dict[str, object]:
    """What the index says of a pair: places of its layers among those shown, and what its chunk holds."""
    relations = given.relations
    return {
        "source": layers.index(given.source_layer),
        "target": layers.index(given.target_layer),
        "edges": len(relations.edges),
        "components": len(relations.components.kind),
        "counts": list(relations.counts.items()),
        "datasets": list(given.overlaps),
        "alpha": relations.evidence.alpha,
        "drawn": MOST_DRAWN,
    }


def _shares(shares: Shares) -> list[np.ndarray]:
    return [_real(shares.value), _real(shares.control)]


def _real(values: Float64[Tensor, " n"]) -> np.ndarray:
    return values.numpy(force=True).astype("<f4")
