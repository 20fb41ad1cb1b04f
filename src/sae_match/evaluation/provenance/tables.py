"""A table of where each feature of a layer comes from."""

import pyarrow as pa
from torch import Tensor

from sae_match.evaluation.provenance.kinds import KINDS
from sae_match.evaluation.provenance.origins import Origin
from sae_match.evaluation.provenance.sources import SOURCES
from sae_match.evaluation.provenance.study import Provenance


def provenance_table(found: Provenance, layer: int) -> pa.Table:
    """A row a feature: kind, kind by the literature's cuts, the nearest row of each source, contributions by dataset.

    `kind` follows from the q-values; `{source}_score` is the cosine with the nearest row, `{source}_feature`, of the
    residual SAE before, the MLP's and the attention's; `onward_…` are of the next layer's residual SAE. Contributions
    are means over the tokens on which the feature is active, null where it never was; with `bias` they sum to
    `pre_activation`. `raised_by` are shares of its rise above the mean.
    """
    one = found.layers[layer]
    columns: dict[str, pa.Array] = {
        "feature": pa.array(range(one.features), pa.int32()),
        "kind": pa.array([KINDS[kind] for kind in one.kinds.tolist()]),
        "kind_by_cut": pa.array([KINDS[kind] for kind in one.kinds_by_cut.tolist()]),
    }
    nearest: list[tuple[str, Origin]] = list(one.origins.items())
    nearest += [] if one.onward is None else [("onward", one.onward)]
    for name, origin in nearest:
        columns[f"{name}_feature"] = _whole(origin.nearest, origin.nearest >= 0)
        for what, values in (("score", origin.score), ("p", origin.p), ("q", origin.q)):
            columns[f"{name}_{what}"] = _numbers(values)
    for dataset in found.datasets:
        columns |= _of_dataset(found, layer, dataset)
    return pa.table(columns)


def _of_dataset(found: Provenance, layer: int, dataset: str) -> dict[str, pa.Array]:
    one = found.contributions[layer, dataset]
    count = one.active.clamp_min(1.0)

    def mean(total: Tensor) -> pa.Array:
        return _numbers(total / count, one.known)

    return {
        f"{dataset}_active": pa.array(one.active.long().numpy()),
        f"{dataset}_pre_activation": mean(one.pre_activation),
        **{f"{dataset}_contribution_{source}": mean(one.of[source]) for source in SOURCES},
        f"{dataset}_bias": _numbers(one.bias, one.known),
        **{f"{dataset}_raised_by_{source}": _numbers(one.raised_by(source), one.known) for source in SOURCES},
    }


def _numbers(values: Tensor, known: Tensor | None = None) -> pa.Array:
    unknown = values.isnan() if known is None else values.isnan() | ~known
    return pa.array(values.numpy(), mask=unknown.numpy())


def _whole(values: Tensor, known: Tensor) -> pa.Array:
    return pa.array(values.numpy(), pa.int64(), mask=(~known).numpy())
