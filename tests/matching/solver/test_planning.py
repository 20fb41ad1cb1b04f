import re

import pytest
import torch

from sae_match.errors import UserError
from sae_match.matching.solver import planning
from sae_match.matching.solver.planning import (
    GIGABYTE,
    dense_bytes,
    fast_precision,
    free_memory,
    planned,
    sparse_bytes,
)
from sae_match.matching.tuning import TUNING

CPU = torch.device("cpu")


def plan(n_source=1000, n_target=1000, width=64, *, solver="auto", precision="float32", memory=64.0):
    return planned(n_source, n_target, width, solver=solver, precision=precision, memory=memory, device=CPU)


def test_a_small_problem_is_dense():
    assert plan().solver == "dense"
    assert plan().reason == "1000 x 1000 costs fit the processor"


def test_a_large_problem_is_sparse_whatever_the_memory():
    chosen = plan(16384, 16384, 4609, memory=1000.0)
    assert chosen.solver == "sparse"
    gigabytes = dense_bytes(16384, 16384, 4609) / GIGABYTE
    assert chosen.reason == f"a matrix of 16384 x 16384 costs takes {gigabytes:.2g} GB; passes in float32"


@pytest.mark.parametrize(("n", "width", "solver"), [(2048, 129, "dense"), (1024, 257, "dense"), (2048, 4609, "sparse")])
def test_with_fast_passes_a_wide_problem_is_sparse_however_few_its_features(n, width, solver):
    assert plan(n, n, width, precision="bfloat16").solver == solver
    assert plan(n, n, width, precision="float32").solver == "dense"


def test_a_problem_that_is_sparse_although_its_matrix_would_fit_says_why():
    assert plan(2048, 2048, 4609, precision="bfloat16").reason == (
        "2048 x 2048 costs are found faster in passes; passes in bfloat16"
    )


def test_where_products_are_few_the_choice_does_not_depend_on_the_machine(monkeypatch):
    for fast in (torch.bfloat16, torch.float32):
        monkeypatch.setattr(planning, "fast_precision", lambda _, fast=fast: fast)
        assert plan(precision="auto").solver == "dense"
        assert plan(4096, 4097, precision="auto").solver == "sparse"


def test_a_small_problem_that_does_not_fit_dense_is_sparse():
    n, width = 2000, 2000
    dense = dense_bytes(n, n, width) / GIGABYTE
    assert plan(n, n, width, memory=1.01 * dense).solver == "dense"
    assert plan(n, n, width, memory=0.99 * dense).solver == "sparse"


@pytest.mark.parametrize("solver", ["dense", "sparse"])
def test_what_is_asked_for_is_done(solver):
    assert plan(solver=solver).solver == solver
    assert plan(solver=solver).reason.startswith("as asked")


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("bfloat16", (torch.bfloat16, torch.float32, torch.float64)),
        ("float32", (torch.float32, torch.float64)),
        ("float64", (torch.float64,)),
    ],
)
def test_finer_precisions_stand_by(precision, expected):
    assert plan(solver="sparse", precision=precision).precisions == expected


def test_the_fastest_precision_is_taken_by_itself():
    assert plan(solver="sparse", precision="auto").precisions[0] == fast_precision("cpu")
    assert fast_precision("cuda") == torch.bfloat16


def test_the_memory_of_a_matrix_is_that_of_its_costs_and_of_the_vectors():
    assert dense_bytes(1000, 2000, 0) == 8 * 1000 * 2000
    assert dense_bytes(1000, 2000, 10) > dense_bytes(1000, 2000, 0) + 8 * 3000 * 10


def test_blocks_shrink_to_fit():
    roomy = plan(solver="sparse")
    least = 0.01 + (sparse_bytes(1000, 1000, 64, torch.float32) + TUNING.feature_bytes * 2000) / GIGABYTE
    tight = plan(solver="sparse", memory=least)
    assert tight.block[0] < roomy.block[0]
    assert tight.block[1] < roomy.block[1]


@pytest.mark.parametrize("solver", ["auto", "sparse"])
def test_a_budget_below_one_block_is_refused_with_both_numbers(solver):
    with pytest.raises(UserError, match=r"the sparse solver needs [\d.]+ GB, the memory budget is 0.001 GB") as error:
        plan(solver=solver, memory=0.001)
    assert float(re.search(r"needs ([\d.]+) GB", str(error.value))[1]) > 0.001


def test_a_matrix_over_the_budget_is_refused():
    with pytest.raises(UserError, match=r"the dense solver needs [\d.]+ GB, the memory budget is 1 GB .*solver=sparse"):
        plan(16384, 16384, 4609, solver="dense", memory=1.0)


@pytest.mark.parametrize("memory", [0.0, -1.0, float("nan")])
def test_a_budget_that_is_none_is_refused(memory):
    with pytest.raises(UserError, match="the memory budget must be positive"):
        plan(memory=memory)


@pytest.mark.usefixtures("as_a_user")
def test_unknown_choices_are_refused():
    with pytest.raises(UserError, match="unknown precision 'float16'; there are auto, bfloat16, float32, float64"):
        plan(precision="float16")
    with pytest.raises(UserError, match="no solver 'hungarian'; use 'dense', 'sparse' or 'auto'"):
        plan(solver="hungarian")


def test_what_the_allocator_of_a_gpu_has_kept_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5 * GIGABYTE, 80 * GIGABYTE))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 70 * GIGABYTE)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 8 * GIGABYTE)
    assert free_memory(torch.device("cuda")) == (5 + 70 - 8) * GIGABYTE


def test_free_memory_is_some_of_this_machines():
    assert GIGABYTE // 16 < free_memory(CPU) < 2**50
