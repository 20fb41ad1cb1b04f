"""What switching features off did, as processes hand it to each other and files keep it."""

import pytest
import torch

from sae_match.evaluation.causal.effects import SUMS, Effects, Rows
from sae_match.evaluation.causal.sample import ARMS

FEATURES, WIDTH = 5, 7


def effects(*documents):
    """Effects of some documents: a feature that is active there, and what fell how far."""
    made = Effects(FEATURES, WIDTH)
    for document in documents:
        names = torch.tensor([[document % FEATURES, 0, document, 3]])
        sums = torch.rand(1, len(ARMS), SUMS, generator=torch.Generator().manual_seed(document), dtype=torch.float64)
        # Where nothing fell, as where a feature is active and writes nothing, there is a row and no fall.
        falls = torch.zeros(1, WIDTH, dtype=torch.float64)
        falls[0, document % WIDTH] = document
        made.add(Rows(names, sums), falls)
    return made


@pytest.mark.parametrize("documents", [(), (0,), (1,), (0, 1, 2, 8)], ids=["none", "no falls", "one", "several"])
def test_what_is_handed_on_is_what_was_found(documents):
    first = effects(*documents)
    again = Effects(FEATURES, WIDTH)
    # Of another pair, behind it.
    rest = again.fill(torch.cat([first.flat(), effects(3).flat()]))
    assert torch.equal(rest, effects(3).flat())
    assert torch.equal(again.flat(), first.flat())


def test_processes_together_have_what_one_has():
    parts = [effects(4, 1), effects(), effects(0, 2)]
    together = Effects(FEATURES, WIDTH)
    for part in parts:
        assert len(together.fill(part.flat())) == 0
    assert torch.equal(together.flat(), effects(0, 1, 2, 4).flat())


@pytest.mark.parametrize("length", [0, 1, 10, -1])
def test_what_is_cut_off_is_refused(length):
    with pytest.raises(ValueError, match="its effects are cut off"):
        effects().fill(effects(1, 2).flat()[:length])
