import torch

from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS, Coactivation


def test_it_is_told_by_tokens_of_both_and_of_either():
    paired = torch.tensor([True, True, True, False])
    source, target, both = torch.tensor([[20, 0, 30, 0], [20, 0, 0, 0], [10, 0, 0, 0]])
    found = Coactivation(paired, source, target, both)
    assert found.either.tolist() == [30, 0, 30, 0]
    assert found.jaccard[[0, 2]].tolist() == [1 / 3, 0.0]
    assert found.sufficiency[[0, 2]].tolist() == [0.5, 0.0]
    assert found.jaccard[[1, 3]].isnan().all()
    # A partner that is never active says something as well: that the two are not active together.
    assert FEWEST_ACTIVATIONS <= 30
    assert found.enough.tolist() == [True, False, True, False]
