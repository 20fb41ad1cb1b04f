"""Which process does what, and what they tell each other."""

import pytest
import torch

from sae_match.evaluation.passes.processes import ALONE, Processes


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("of", [1, 2, 7])
def test_every_piece_of_work_has_one_owner_and_neighbours_share_it(count, of):
    shares = [Processes(rank, count).own(range(of)) for rank in range(count)]
    assert sorted(piece for share in shares for piece in share) == list(range(of))
    for rank, share in enumerate(shares):
        assert share == list(range(share[0], share[-1] + 1)) if share else rank >= of
        assert all(Processes(0, count).owner(piece, of) == rank for piece in share)
    sizes = [len(share) for share in shares[: min(count, of)]]
    assert max(sizes) - min(sizes) <= 1


def test_a_process_alone_hears_what_it_says():
    sums = torch.arange(3.0)
    assert ALONE.summed(sums) is sums
    assert ALONE.gathered(sums) == [sums]
    assert ALONE.given_by(0, {"flat": sums})["flat"] is sums
