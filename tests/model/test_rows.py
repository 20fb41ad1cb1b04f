"""Rows of a batch that run by themselves are what they are in the batch."""

import pytest
import torch

from sae_match.model.residual_stream import ResidualStream
from sae_match.model.rows import RowsOf, occurrences
from tests.model.architectures import random_model

TOKENS = torch.tensor([[2, 5, 7, 9, 11, 13], [2, 4, 6, 8, 0, 0], [2, 3, 5, 7, 9, 0]])
MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 5 + [False]])
ROWS = torch.tensor([1, 2, 1, 0, 1])


@pytest.mark.parametrize("architecture", ["gemma_2", "gpt_neox"])
@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_any_rows_are_resumed_as_in_their_batch(architecture, one_at_a_time):
    stream = ResidualStream(random_model(architecture))
    stream.one_at_a_time = one_at_a_time
    clean = stream.capture(TOKENS, MASK)
    torch.manual_seed(0)
    values = clean.residuals[0][ROWS] + torch.randn(len(ROWS), *clean.residuals[0].shape[1:])
    end = stream.n_layers - 1
    for until in (0, 1, end):
        found = stream.resume(clean, 0, values, rows=ROWS, until=until)
        for number, row in enumerate(ROWS.tolist()):
            whole = clean.residuals[0].clone()
            whole[row] = values[number]
            expected = stream.resume(clean, 0, whole, until=until)[row]
            assert torch.allclose(found[number][MASK[row]], expected[MASK[row]], atol=1e-5)
    # In two steps as in one.
    halfway = stream.resume(clean, 0, values, rows=ROWS, until=1)
    assert torch.equal(stream.resume(clean, 1, halfway, rows=ROWS), stream.resume(clean, 0, values, rows=ROWS))


def test_a_pass_that_was_cut_off_is_resumed_as_far_as_it_goes():
    stream = ResidualStream(random_model("llama"))
    clean = stream.capture(TOKENS, MASK, keep=[0, 1], whole=False)
    assert torch.equal(stream.resume(clean, 0, clean.residuals[0], until=1), clean.residuals[1])
    with pytest.raises(ValueError, match="cannot be resumed"):
        stream.resume(clean, 0, clean.residuals[0])


def test_what_has_no_rows_stays_and_what_is_shared_is_made_once():
    shared, single = torch.arange(6).view(3, 2), torch.ones(1, 4)
    of = RowsOf(3, torch.tensor([2, 0]))
    made = of({"a": (shared, single, None), "b": shared})
    assert made["b"].tolist() == [[4, 5], [0, 1]]
    assert made["a"][0] is made["b"]
    assert made["a"][1] is single
    assert made["a"][2] is None


def test_occurrences_count_what_is_equal_and_before():
    assert occurrences(torch.tensor([1, 2, 1, 0, 1, 2])).tolist() == [0, 0, 1, 0, 2, 1]
