"""What a run leaves behind that becomes artifacts."""

import math

import torch

from sae_match import Matching
from sae_match.evaluation.cautions import Caution, save_cautions
from sae_match.evaluation.statistics.results import save_spans
from sae_match.report.pair_tables import save_tables
from sae_match.report.validation.pictures.metrics import metric_pictures
from tests.report.made_up import pair_tables, results, spans

CAUTIONS = [
    Caution("dead_features", "layer 3", "Many never fire.", "Train longer."),
    Caution("x", "0→1", "Odd.", "Look."),
]


def saved_run(folder):
    """What a run leaves behind that becomes artifacts."""
    permutation = torch.tensor([1, 0, -1])
    costs = torch.tensor([0.5, 0.25, math.nan], dtype=torch.float64)
    for name, lower_bound in (("L00-L01", 0.75), ("L01-L02", -math.inf)):
        matching = Matching(permutation, costs, lower_bound, {"solver": "dense", "fold": "threshold"})
        matching.save(folder / "matchings" / f"{name}.safetensors")
    results().save(folder / "results.csv")
    save_spans(spans(), folder / "spans.csv")
    save_cautions(CAUTIONS, folder / "warnings.csv")
    save_tables(pair_tables(), folder / "pairs")
    for picture in metric_pictures(results(), spans()):
        picture.save(folder / "figures")
