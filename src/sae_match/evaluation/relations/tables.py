"""Tables of relatives: splits and merges as CSV, all features with their kinds as parquet."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sae_match.evaluation.plan import Pair
from sae_match.evaluation.relations.overlap import Overlap, Shares
from sae_match.files import write_rows, written_whole
from sae_match.matching.relations.kinds import KINDS, MERGE, SPLIT
from sae_match.matching.relations.result import MOST_DRAWN, Relations

#: Name of the table of splits and merges in a run's folder.
SPLITS = "splits.csv"
_MEASURED = ("value", "low", "high", "control")
#: Its columns.
SPLIT_COLUMNS = (
    *("source_layer", "target_layer", "kind", "component", "features", "parent", "child"),
    *("statistic", "whitened", "p", "q", "matched", "dataset"),
    *(f"{share}{end}" for share in ("containment", "coverage") for end in ("", "_low", "_high", "_control", "_tokens")),
)


def split_rows(
    relations: Mapping[Pair, Relations], measured: Mapping[tuple[Pair, str], Overlap] | None = None
) -> Iterator[dict[str, object]]:
    """A row for each child of a split or a merge, and for each dataset that it was measured on; large ones as well.

    The parent of a split is a source feature and its children are target features; of a merge it is the other way
    round. Columns are `SPLIT_COLUMNS`; of what was not measured they are empty.

    Args:
        relations: Of each pair of layers.
        measured: What relatives do on each dataset, by pair of layers and dataset.
    """
    for pair, found in relations.items():
        datasets = [dataset for at, dataset in (measured or {}) if at == pair] or [""]
        shown = ((found.edge_kind == SPLIT) | (found.edge_kind == MERGE)).nonzero().flatten()
        order = shown[found.edge_component[shown].argsort(stable=True)].tolist()
        for dataset in datasets:
            overlap = measured[pair, dataset] if measured and dataset else None
            for edge in order:
                yield _split_row(pair, found, edge, dataset, overlap)


def write_splits(
    file: Path, relations: Mapping[Pair, Relations], measured: Mapping[tuple[Pair, str], Overlap] | None = None
) -> None:
    """Write `split_rows` as CSV, whole or not at all.

    Raises:
        UserError: If the folder cannot be written or the disk is full.
    """
    write_rows(file, split_rows(relations, measured), SPLIT_COLUMNS)


def feature_table(relations: Relations) -> pa.Table:
    """A row for each feature of either side.

    Columns: `side` (`source` or `target`), `feature`, `kind`; null without relatives: `component`, `sources` and
    `targets` (features of either side in it) and `drawn` (whether it is small enough to be drawn); `p` of its nearest,
    null where it was not tested.
    """
    components, tables = relations.components, []
    small = np.append((relations.sizes <= MOST_DRAWN).numpy(), False)
    for side, of, kind, p in (
        ("source", components.of_source, relations.source_kind, relations.source_p),
        ("target", components.of_target, relations.target_kind, relations.target_p),
    ):
        number = of.numpy()
        alone = number < 0
        columns = {
            "side": pa.array([side] * len(number), pa.string()),
            "feature": np.arange(len(number)),
            "kind": pa.array(np.array(KINDS)[kind.numpy()]),
            "component": pa.array(number, mask=alone),
            "sources": pa.array(np.append(components.sources.numpy(), 0)[number], mask=alone),
            "targets": pa.array(np.append(components.targets.numpy(), 0)[number], mask=alone),
            "drawn": pa.array(small[number], mask=alone),
            "p": pa.array(p.numpy(), pa.float64(), from_pandas=True),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def edge_table(relations: Relations, measured: Mapping[str, Overlap] | None = None) -> pa.Table:
    """A row for each edge, and for each dataset that it was measured on.

    Columns: `source_feature`, `target_feature`, `kind`, `component`, `statistic`, `whitened`, `p`, `q`,
    `nearest_of_source`, `nearest_of_target`, `matched`; `dataset`, `containment`, `containment_low`,
    `containment_high`, `containment_control` and `containment_tokens`, null where nothing was measured.
    """
    edges, tables = relations.edges, []
    known = {
        "source_feature": edges.source.numpy(),
        "target_feature": edges.target.numpy(),
        "kind": pa.array(np.array(KINDS)[relations.edge_kind.numpy()], pa.string()),
        "component": relations.edge_component.numpy(),
        **{
            name: getattr(edges, name).numpy()
            for name in ("statistic", "whitened", "p", "q", "nearest_of_source", "nearest_of_target", "matched")
        },
    }
    overlaps: list[tuple[str | None, Overlap | None]] = [*measured.items()] if measured else [(None, None)]
    for dataset, overlap in overlaps:
        share = None if overlap is None else overlap.containment
        ends = {
            f"containment{'' if end == 'value' else f'_{end}'}": _floats(len(edges), share, end) for end in _MEASURED
        }
        tokens = pa.nulls(len(edges), pa.int64()) if share is None else pa.array(share.tokens.numpy())
        of = pa.array([dataset] * len(edges), pa.string())
        tables.append(pa.table({**known, "dataset": of, **ends, "containment_tokens": tokens}))
    return pa.concat_tables(tables)


def save_parquet(table: pa.Table, file: Path) -> None:
    """Write a table, whole or not at all.

    Raises:
        UserError: If the folder cannot be written or the disk is full.
    """
    with written_whole(file) as temporary:
        pq.write_table(table, temporary)


def _split_row(pair: Pair, found: Relations, edge: int, dataset: str, overlap: Overlap | None) -> dict[str, object]:
    component, kind = int(found.edge_component[edge]), int(found.edge_kind[edge])
    ends = int(found.edges.source[edge]), int(found.edges.target[edge])
    parent, child = ends if kind == SPLIT else ends[::-1]
    row = dict.fromkeys(SPLIT_COLUMNS, None) | {
        "source_layer": pair[0],
        "target_layer": pair[1],
        "kind": KINDS[kind],
        "component": component,
        "features": int(found.sizes[component]),
        "parent": parent,
        "child": child,
        "statistic": float(found.edges.statistic[edge]),
        "whitened": float(found.edges.whitened[edge]),
        "p": float(found.edges.p[edge]),
        "q": float(found.edges.q[edge]),
        "matched": bool(found.edges.matched[edge]),
        "dataset": dataset,
    }
    if overlap is None:
        return row
    return (
        row | _of_share("containment", overlap.containment, edge) | _of_share("coverage", overlap.coverage, component)
    )


def _of_share(name: str, share: Shares, at: int) -> dict[str, object]:
    cells: dict[str, object] = {f"{name}_tokens": int(share.tokens[at])}
    for end in _MEASURED:
        value = float(getattr(share, end)[at])
        cells[name if end == "value" else f"{name}_{end}"] = None if math.isnan(value) else value
    return cells


def _floats(n: int, share: Shares | None, end: str) -> pa.Array:
    """A column of a share, null where it is not known."""
    if share is None:
        return pa.nulls(n, pa.float64())
    return pa.array(getattr(share, end).numpy(), pa.float64(), from_pandas=True)
