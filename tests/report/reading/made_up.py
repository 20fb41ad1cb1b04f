"""Folders of runs that one can do in one's head, written by pyarrow and by nothing that reads them."""

import csv
import math

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sae_match import Matching
from sae_match.version import write_provenance

PARTNERS = {(3, 4): [2, 0, -1, 1], (4, 5): [1, -1, 0, 2]}
STATISTIC = {(3, 4): {0: 0.5, 1: 0.9, 3: 0.9}, (4, 5): {0: 0.25, 2: 0.75, 3: None}}
COST = {(3, 4): {0: 3.0, 1: 2.0, 3: 1.0}, (4, 5): {0: 2.0, 2: 1.0, 3: 4.0}}
JOINT = {"prose": 3, "code": 0}


def rows_of(pair, text=True):
    """Rows of the table of a pair of layers, cheapest first, dataset by dataset."""
    source = sorted(COST[pair], key=COST[pair].get)
    for dataset, joint in JOINT.items() if text else [(None, 0)]:
        for i in source:
            j = PARTNERS[pair][i]
            row = {"source_layer": pair[0], "target_layer": pair[1]}
            row |= {"dataset": dataset} if text else {}
            row |= {"source_feature": i, "target_feature": j, "cost": COST[pair][i]}
            row |= {"encoder_cosine": STATISTIC[pair][i], "decoder_cosine": STATISTIC[pair][i]}
            if text:
                row |= {"both_active": joint + i, "jaccard": None if i + joint == 0 else joint / (i + joint)}
                row |= {"activations": "enough" if i else "too few"}
            row |= {"statistic": STATISTIC[pair][i], "q": 0.01, "mutual_nearest": i == 1}
            row |= {"source_label": f"{pair[0]}/{i}", "target_label": f"{pair[1]}/{j}"} if text else {}
            yield row


def made(folder, names=None, text=True, pairs=tuple(PARTNERS)):
    """A run of these pairs of layers; of two collections, from the first to the second."""
    folder.mkdir(parents=True, exist_ok=True)
    write_provenance(folder)
    for pair in pairs:
        ends = [f"L{layer:02d}" + (f"@{names[side]}" if names else "") for side, layer in enumerate(pair)]
        costs = [COST[pair].get(i, math.nan) for i in range(4)]
        matching = Matching(
            torch.tensor(PARTNERS[pair]),
            torch.tensor(costs, dtype=torch.float64),
            0.0,
            notes_of(names) | {"target_features": "4"},
        )
        matching.save(folder / "matchings" / f"{'-'.join(ends)}.safetensors")
        (folder / "pairs").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows_of(pair, text))), folder / "pairs" / f"{'-'.join(ends)}.parquet")
        for end, layer in zip(ends, pair, strict=True) if text else ():
            (folder / "features").mkdir(exist_ok=True)
            rows = [{"layer": layer, "feature": i, "label": f"{layer}/{i}"} for i in range(4)]
            pq.write_table(pa.Table.from_pylist(rows), folder / "features" / f"{end}.parquet")
    if text:
        table(folder / "results.csv", [row | notes_of(names) for row in RESULTS])
        table(folder / "spans.csv", [{"span": 1, "arm": "matched", "dataset": "'=1", "value": 0.1}])
    else:
        table(folder / "matchings.csv", MATCHINGS)
    return folder


MATCHINGS = [
    {"source_layer": 3, "target_layer": 4, "cost": 6.5, "solver": "dense"},
    {"source_layer": 4, "target_layer": 5, "cost": 7.0, "solver": "dense"},
]
RESULTS = [
    {"source_layer": 3, "target_layer": 4, "arm": "matched", "dataset": "NA", "value": 1 / 3, "low": 0.1, "tokens": 9},
    {"source_layer": 4, "target_layer": 5, "arm": "null", "dataset": "'-x", "value": -2e-17, "low": "", "tokens": 9},
]


def notes_of(names):
    """What two collections are called, where there are two."""
    return dict(zip(("source_collection", "target_collection"), names, strict=True)) if names else {}


def table(file, rows):
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
