"""A matching of three features, and how often they are active."""

import math

import torch

from sae_match import Matching
from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.statistics.streaming import SPREAD_COLUMNS, DocumentVectors, PairActivity
from sae_match.evaluation.statistics.tally import Layout, Tally

ACTIVE = {(0, "prose"): [4, 5, 0], (1, "prose"): [6, 7, 8], (0, "code"): [1, 1, 1], (1, "code"): [0, 2, 1]}
JOINT = {"prose": [3, 0, 0], "code": [1, 0, 0]}


def found():
    """Feature 0 is 2, feature 2 is 0, feature 1 is none."""
    matching = Matching(torch.tensor([2, -1, 0]), torch.tensor([1.5, math.nan, 0.5], dtype=torch.float64))
    cosines = torch.tensor([0.5, math.nan, 0.25]), torch.tensor([0.75, math.nan, -1.0])
    return PairMatchings({"matched": matching}, {}, {}, *cosines)


def counted():
    """How often features of two layers are active, on two datasets."""
    tally = Tally(Layout([(0, 1)], ["matched"], ["prose", "code"], 2, {0: 3, 1: 3}))
    nothing = DocumentVectors(torch.zeros(1, SPREAD_COLUMNS).double(), torch.zeros(2).double())
    for dataset, joint in JOINT.items():
        weights = bootstrap_weights(dataset, [0], 0)
        for layer in (0, 1):
            active = torch.tensor(ACTIVE[layer, dataset])
            tally.add_layer((layer, dataset), nothing, torch.tensor([[1.0, 9.0]]).double(), active, weights)
        activity = PairActivity(torch.zeros(1, 3).double(), torch.tensor(joint))
        tally.add_pairs(((0, 1), "matched", dataset), activity, weights)
    return tally
