import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_match import SAE
from sae_match.errors import UserError
from sae_match.saes.formats.shared.building import (
    build,
    build_gated,
    in_units_of_decoder_norm,
    on_centred_input,
    on_scaled_input,
    on_shifted_input,
    refuse_contradiction,
)

FILE = Path("params")
W_ENC = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
W_DEC = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
B_ENC, B_DEC = torch.zeros(3), torch.tensor([1.0, 2.0])
PARAMETERS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}


def relu():
    return SAE(W_ENC, B_ENC, W_DEC, B_DEC, activation="relu")


def test_a_shift_by_the_decoder_bias_is_folded():
    assert on_shifted_input(relu()).encode(torch.tensor([4.0, 2.5])).tolist() == [3.0, 0.5, 3.5]


def test_a_centred_input_is_folded():
    assert on_centred_input(relu()).encode(torch.tensor([5.0, 1.0])).tolist() == [2.0, 0.0, 0.0]


def test_a_scaled_input_is_folded_and_the_output_is_scaled_back():
    sae = on_scaled_input(relu(), 2.0)
    assert sae.encode(torch.tensor([1.0, 0.5])).tolist() == [2.0, 1.0, 3.0]
    assert sae.decode(torch.tensor([1.0, 0.0, 0.0])).tolist() == [2.0, 3.0]


def test_units_of_the_decoder_norm():
    sae = in_units_of_decoder_norm(relu())
    assert sae.encode(torch.tensor([1.0, 1.0])).tolist() == [5.0, 2.0, 0.0]
    assert sae.W_dec.tolist() == [pytest.approx([0.6, 0.8]), [0.0, 1.0], [0.0, 0.0]]


def test_a_gate_is_a_threshold():
    # Gates open where y > 1, and values are 2y + 3: so where 2y + 3 > 5.
    two = torch.full((1,), math.log(2.0))
    sae = build_gated(
        FILE,
        W_enc=torch.ones(1, 1),
        b_gate=torch.tensor([-1.0]),
        r_mag=two,
        b_mag=torch.tensor([3.0]),
        W_dec=torch.ones(1, 1),
        b_dec=torch.zeros(1),
    )
    assert sae.threshold.tolist() == pytest.approx([5.0])
    assert sae.encode(torch.tensor([[0.9], [1.5]])).flatten().tolist() == pytest.approx([0.0, 6.0])


def test_half_precision_becomes_single_and_double_stays():
    halves = {name: tensor.bfloat16() for name, tensor in PARAMETERS.items()}
    assert build(FILE, **halves, activation="relu").W_enc.dtype == torch.float32
    doubles = {name: tensor.double() for name, tensor in PARAMETERS.items()}
    assert build(FILE, **doubles, activation="relu").W_enc.dtype == torch.float64


def test_one_threshold_stands_for_all_features():
    assert build(FILE, **PARAMETERS, threshold=torch.tensor(0.5)).threshold.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W_enc": W_ENC.T}, r"params: W_enc is transposed: it must be \[2, 3\], got \[3, 2\]"),
        ({"W_dec": W_DEC.T}, r"params: W_dec is transposed: it must be \[3, 2\]"),
        ({"W_dec": torch.zeros(4, 2)}, r"params: W_dec must be \[3, 2\]"),
        ({"b_dec": torch.tensor([1.0, math.inf])}, "params: b_dec has 1 entries that are not finite"),
        ({"b_enc": torch.zeros(3, dtype=torch.int64)}, "b_enc must hold floating-point numbers, got torch.int64"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_tensors_that_do_not_fit_are_refused_with_their_file(changes, message):
    with pytest.raises(UserError, match=message):
        build(FILE, **{**PARAMETERS, **changes}, activation="relu")


def test_a_gate_of_another_width_is_refused():
    gates = {"b_gate": torch.zeros(2), "r_mag": torch.zeros(3), "b_mag": torch.zeros(3)}
    with pytest.raises(UserError, match=r"params: b_gate must be \[3\] to go with W_enc \[2, 3\], got \[2\]"):
        build_gated(FILE, W_enc=W_ENC, W_dec=W_DEC, b_dec=B_DEC, **gates)


def test_a_config_that_contradicts_the_tensors_is_refused():
    refuse_contradiction(FILE, relu(), d_in=2, d_sae=None)
    with pytest.raises(UserError, match="params: d_sae is 4 there, but the tensors beside it have 3"):
        refuse_contradiction(FILE, relu(), d_in=2, d_sae=4)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_of_decoder_rows_do_not_leave_the_range_of_single_precision(make_sae, scale):
    """The squares of these numbers do."""
    sae = make_sae(0)
    scaled = replace(sae, W_dec=sae.W_dec * scale)
    norms = sae.W_dec.double().norm(dim=1)
    ours = in_units_of_decoder_norm(scaled)
    assert torch.allclose(ours.W_dec.double(), sae.W_dec.double() / norms[:, None])
    assert torch.allclose(ours.W_enc.double(), sae.W_enc.double() * norms * scale, rtol=1e-5, atol=0)
