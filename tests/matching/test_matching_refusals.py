import math

import pytest
import torch

from sae_match import SAE, match
from sae_match.errors import UserError


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("solver", ["dense", "sparse"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec"])
def test_parameters_that_are_not_finite_are_refused(make_sae, name, bad, solver, side):
    saes = {"source": make_sae(0), "target": make_sae(1)}
    tensor = saes[side].tensors()[name]
    (tensor.T if name == "W_enc" else tensor)[3] = bad
    with pytest.raises(UserError, match=f"{name} of feature 3 is not finite"):
        match(**saes, solver=solver)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_thresholds_to_fold_by_must_be_positive(make_sae, bad):
    sae = make_sae(0)
    sae.threshold[7] = bad
    with pytest.raises(UserError, match=r"threshold of feature 7 is .*, must be positive and finite"):
        match(make_sae(1), sae)
    assert match(make_sae(1), sae, fold="none").cost > 0


def test_a_decoder_row_of_zeros_cannot_be_folded_by_its_norm(make_sae):
    sae = make_sae(0)
    sae.W_dec[2] = 0
    with pytest.raises(UserError, match="norm of decoder row 2 is 0"):
        match(sae, make_sae(1), fold="decoder_norm")


def test_saes_of_activations_of_different_width_are_refused(make_sae):
    with pytest.raises(UserError, match="width 6, the target of width 7"):
        match(make_sae(0), make_sae(1, d_in=7))


@pytest.mark.usefixtures("as_a_user")
def test_there_is_no_empty_dictionary():
    with pytest.raises(UserError, match=r"must be .* not empty"):
        SAE(torch.zeros(3, 0), torch.zeros(0), torch.zeros(0, 3), torch.zeros(3), torch.zeros(0))


@pytest.mark.parametrize("side", ["source", "target"])
def test_masks_that_leave_nothing_are_refused(make_sae, side):
    nothing = {f"{side}_mask": torch.zeros(10, dtype=torch.bool)}
    with pytest.raises(UserError, match=f"{side}_mask leaves none of 10 features to match"):
        match(make_sae(0), make_sae(1), **nothing)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("mask", [torch.ones(9, dtype=torch.bool), torch.ones(10), torch.ones(10, 1, dtype=torch.bool)])
def test_masks_of_another_shape_or_dtype_are_refused(make_sae, mask):
    with pytest.raises(UserError, match=r"target_mask must be bool \[10\], got"):
        match(make_sae(0), make_sae(1), target_mask=mask)


@pytest.mark.parametrize("solver", ["auto", "dense", "sparse"])
def test_a_budget_below_one_block_is_refused(make_sae, solver):
    with pytest.raises(UserError, match=r"needs [\d.]+ GB, the memory budget is .* GB \(matcher.memory\)"):
        match(make_sae(0, d_sae=300), make_sae(1, d_sae=300), solver=solver, memory=1e-4)


@pytest.mark.parametrize("price", [-1.0, math.nan, math.inf])
def test_a_rejection_cost_that_is_none_is_refused(make_sae, price):
    with pytest.raises(UserError, match="the rejection cost must be finite and not negative"):
        match(make_sae(0), make_sae(1), rejection_cost=price)


@pytest.mark.parametrize("tolerance", [-1e-9, 1.0, math.nan])
def test_a_tolerance_outside_its_range_is_refused(make_sae, tolerance):
    with pytest.raises(UserError, match="the tolerance must be at least 0 and below 1"):
        match(make_sae(0), make_sae(1), tolerance=tolerance)


def test_an_unknown_device_is_refused_in_one_line(make_sae):
    with pytest.raises(UserError, match=r"matcher\.device=abacus: .*") as error:
        match(make_sae(0), make_sae(1), device="abacus")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("as_a_user")
def test_unknown_choices_are_refused(make_sae):
    sae = make_sae(0)
    with pytest.raises(UserError, match="unknown folding 'thresholds'"):
        match(sae, sae, fold="thresholds")
    with pytest.raises(UserError, match="unknown metric 'l1'"):
        match(sae, sae, metric="l1")
    with pytest.raises(UserError, match="no solver 'hungarian'"):
        match(sae, sae, solver="hungarian")
    with pytest.raises(UserError, match="unknown precision 'float8'"):
        match(sae, sae, precision="float8")


@pytest.mark.usefixtures("as_a_user")
def test_a_mask_that_is_not_a_tensor_is_refused(make_sae):
    with pytest.raises(UserError, match=r"source_mask must be a tensor, bool \[\d+\], got list"):
        match(make_sae(0), make_sae(1), source_mask=[True])


def test_one_term_may_be_named_alone(make_sae):
    named, listed = (match(make_sae(0), make_sae(1), terms=terms) for terms in ("W_dec", ["W_dec"]))
    assert named.cost == listed.cost
