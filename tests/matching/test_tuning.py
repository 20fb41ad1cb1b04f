"""Tuning decides how soon a matching is found: not which, nor what is proven about it."""

from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from sae_match import match
from sae_match.matching.solver.solving import solve
from sae_match.matching.tuning import TUNING, ByDevice, Tuning
from tests.matching.problems import noisy_copy

OTHERS = {
    "few pairs": {"first_pairs": 1, "sparse_pairs": 1, "dense_pairs": 1},
    "many pairs": {"first_pairs": 60, "sparse_pairs": 90, "dense_pairs": 90},
    "little room": {"most_pairs": 40, "room": 10_000},
    "a poor sample": {"sampled_rows": 1, "above": 0.0},
    "always whole": {"largest_part": 0.0},
    "always a part": {"largest_part": 1.0},
    "a poor start": {"cosine": 0.0},
    "all exact": {"known": 0.0, "exact_pairs": 1000},
    "hardly any exact": {"exact_pairs": 0},
    "small blocks": {"dense_entries": ByDevice(64, 64)},
}


@pytest.mark.parametrize(("solver", "precision"), [("dense", "auto"), ("sparse", "bfloat16"), ("sparse", "float64")])
@pytest.mark.parametrize("other", OTHERS)
def test_another_tuning_finds_the_same_matching(make_sae, monkeypatch, other, solver, precision):
    source = make_sae(0, d_in=12, d_sae=250)
    target = noisy_copy(source, 0, 0.6)
    found = match(source, target, solver=solver, precision=precision)
    tuning = replace(TUNING, **OTHERS[other])
    monkeypatch.setattr("sae_match.matching.matching.solve", partial(solve, tuning=tuning))
    again = match(source, target, solver=solver, precision=precision)
    assert torch.equal(again.permutation, found.permutation)
    assert 0 <= again.gap <= 1e-6


def test_another_tuning_is_taken(make_sae, monkeypatch):
    source = make_sae(0, d_in=12, d_sae=250)
    target = noisy_copy(source, 0, 0.6)
    usual = match(source, target, solver="sparse").evidence.rounds
    monkeypatch.setattr(
        "sae_match.matching.matching.solve", partial(solve, tuning=replace(TUNING, first_pairs=1, sparse_pairs=1))
    )
    assert match(source, target, solver="sparse").evidence.rounds > usual


def test_every_entry_says_what_it_is():
    described = Tuning.__doc__.split("Attributes:")[1]
    assert all(f"        {entry.name}: " in described for entry in fields(Tuning))


def test_a_size_depends_on_the_device():
    size = ByDevice(cpu=2, gpu=3)
    assert [size.on(torch.device(name)) for name in ("cpu", "cuda", "mps")] == [2, 3, 3]
