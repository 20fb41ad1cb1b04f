import math

import numpy as np
import pytest
import torch

from sae_match import SAE
from sae_match.bootstrap import bootstrap_weights
from sae_match.errors import UserError
from sae_match.evaluation.relations import stitching
from sae_match.evaluation.relations.stitching import StitchingSums, stitch
from sae_match.matching.relations.kinds import APPEAR, KINDS, ONE_TO_ONE
from tests.conftest import random_sae

TOKENS, DOCUMENTS = 600, 10


@pytest.fixture
def x():
    return 2 * torch.randn(TOKENS, 6, generator=torch.Generator().manual_seed(0))


DOCUMENT = torch.arange(TOKENS) * DOCUMENTS // TOKENS


def summed(narrow, wide, x, batches=1):
    sums = StitchingSums(wide.d_sae)
    for part in torch.arange(TOKENS).chunk(batches):
        sums.add(x[part], DOCUMENT[part], narrow, wide)
    return sums


def naive(narrow, wide, x):
    """Mean squared error with each feature added, less that without, one feature after another, on all tokens."""
    narrow, wide, x = narrow.to(dtype=torch.float64), wide.to(dtype=torch.float64), x.double()
    known, f = narrow(x), wide.encode(x)
    before = (x - known).square().sum(1).mean()
    return torch.stack(
        [(x - known - f[:, [j]] * wide.W_dec[j]).square().sum(1).mean() - before for j in range(wide.d_sae)]
    )


def test_changes_are_those_of_adding_features_one_by_one(x):
    narrow, wide = random_sae(0, 6, 8), random_sae(1, 6, 30)
    found = summed(narrow, wide, x).found("prose")
    assert torch.allclose(found.change, naive(narrow, wide, x), rtol=1e-5, atol=1e-5)
    assert torch.equal(found.active, (wide.encode(x) > 0).sum(0))
    assert found.error == pytest.approx(float((x - narrow(x)).square().sum(1).mean()), rel=1e-5)
    assert (found.tokens, found.documents) == (TOKENS, DOCUMENTS)


def test_batches_and_blocks_change_nothing(x, monkeypatch):
    narrow, wide = random_sae(0, 6, 8), random_sae(1, 6, 30)
    whole = summed(narrow, wide, x).found("prose")
    monkeypatch.setattr(stitching, "_ENTRIES", 7)
    monkeypatch.setattr(stitching, "_FEATURES", 4)
    parts = summed(narrow, wide, x, batches=7).found("prose")
    for name in ("change", "low", "high"):
        assert torch.allclose(getattr(whole, name), getattr(parts, name), equal_nan=True, atol=1e-9)
    assert parts.shares["all"].new.value == whole.shares["all"].new.value
    assert parts.shares["all"].new.low == pytest.approx(whole.shares["all"].new.low)


def planted() -> tuple[SAE, SAE, torch.Tensor, torch.Tensor]:
    """A world of twelve directions; the narrower SAE knows six, the wider all, with a higher threshold."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.linalg.qr(torch.randn(16, 16, generator=generator))[0][:12]
    narrow = SAE(rows[:6].T.contiguous(), torch.zeros(6), rows[:6], torch.zeros(16), torch.full((6,), 0.1))
    wide = SAE(rows.T.contiguous(), torch.zeros(12), rows, torch.zeros(16), torch.full((12,), 0.5))
    on = (torch.rand(TOKENS, 12, generator=generator) < 0.2) * (1 + torch.rand(TOKENS, 12, generator=generator))
    return narrow, wide, on @ rows, torch.tensor([ONE_TO_ONE] * 6 + [APPEAR] * 6)


def test_replicates_are_of_their_own_tokens(x):
    # One document is nine times as long as the others: a replicate without it has few tokens.
    narrow, wide = random_sae(0, 6, 8), random_sae(1, 6, 30)
    document = (torch.arange(TOKENS) * 100 // TOKENS - 90).clamp_min(0)
    sums = StitchingSums(wide.d_sae)
    sums.add(x, document, narrow, wide)
    found = sums.found("prose")
    known, f = narrow(x), wide.encode(x)
    added = (x - known)[:, None] - f[:, :, None] * wide.W_dec
    change = added.double().square().sum(2) - (x - known).double().square().sum(1)[:, None]
    weights = bootstrap_weights("prose", list(range(10)), 0)[:, document]
    rows = (weights @ change) / weights.sum(1, keepdim=True)
    low, high = np.nanpercentile(rows[1:].numpy(), (2.5, 97.5), axis=0)
    assert np.allclose(found.low, low, atol=1e-5)
    assert np.allclose(found.high, high, atol=1e-5)


def test_what_was_added_is_kept_and_gone_on_from(x):
    narrow, wide = random_sae(0, 6, 8), random_sae(1, 6, 30)
    whole = summed(narrow, wide, x, batches=4)
    part = StitchingSums(wide.d_sae)
    pieces = torch.arange(TOKENS).chunk(4)
    for some in pieces[:2]:
        part.add(x[some], DOCUMENT[some], narrow, wide)
    part, rest = StitchingSums.filled(torch.cat([part.flat(), torch.ones(3).double()]), wide.d_sae)
    assert torch.equal(rest, torch.ones(3).double())
    for some in pieces[2:]:
        part.add(x[some], DOCUMENT[some], narrow, wide)
    assert torch.equal(part.flat(), whole.flat())
    with pytest.raises(ValueError, match="cut off"):
        StitchingSums.filled(whole.flat()[:-1], wide.d_sae)
    with pytest.raises(ValueError, match=r"must lie in 0 … 3"):
        StitchingSums.filled(whole.flat(), 4)


def test_what_the_narrower_dictionary_does_not_know_is_new():
    narrow, wide, x, kind = planted()
    found = summed(narrow, wide, x).found("prose", kind=kind)
    assert (found.change[:6] > 0).all()
    assert (found.change[6:] < 0).all()
    assert (found.high[6:] < 0).all()
    assert found.shares[KINDS[APPEAR]].surely_new == 1
    assert found.shares[KINDS[ONE_TO_ONE]].surely_known == 1
    assert found.shares["all"].new.value == 0.5
    assert found.shares["all"].features == 12
    # Adding all that is new at once takes their whole error away: directions are orthogonal.
    assert float(found.change[6:].sum()) == pytest.approx(-found.error, rel=1e-4)


def test_a_replicate_without_any_document_of_a_feature_says_nothing_of_it():
    # Every feature has one document to itself; all but the last one lower the error there.
    narrow, found = random_sae(0, 6, 8), StitchingSums(4)
    tokens = torch.arange(4).repeat_interleave(30)
    x = torch.nn.functional.one_hot(tokens, 6).float()
    far = torch.tensor([1.0, 1.0, 1.0, 3.0])[:, None]
    wide = SAE(torch.eye(6)[:, :4], torch.zeros(4), far * torch.eye(6)[:4], torch.zeros(6), torch.full((4,), 0.5))
    narrow = SAE(narrow.W_enc, narrow.b_enc, narrow.W_dec * 0, torch.zeros(6), narrow.threshold)
    found.add(x, tokens, narrow, wide)
    new = found.found("prose").shares["all"].new
    assert (new.value, new.high) == (0.75, 1)
    # Half of the replicates that have the last one's document have two of the others' three at most.
    assert 0 <= new.low < 0.75


def test_features_that_are_hardly_active_do_not_count(x):
    narrow, wide = random_sae(0, 6, 8), random_sae(1, 6, 30)
    threshold = wide.threshold.clone()
    threshold[:5] = 1e6
    wide = SAE(wide.W_enc, wide.b_enc, wide.W_dec, wide.b_dec, threshold)
    found = summed(narrow, wide, x).found("prose")
    assert not found.change[:5].any()
    assert found.low[:5].isnan().all()
    assert found.shares["all"].features == int(found.enough.sum()) <= 25


def test_a_text_is_stitched_on_by_dataset(tiny_stream, tiny_batches):
    narrow, wide = random_sae(0, 16, 20), random_sae(1, 16, 50)
    found = stitch(tiny_stream, "residual", 1, narrow, wide, tiny_batches)
    assert set(found) == {"one", "two"}
    for dataset, stitched in found.items():
        sums = StitchingSums(wide.d_sae)
        for batch in (each for each in tiny_batches if each.dataset == dataset):
            value = tiny_stream.capture(batch.input_ids, batch.attention_mask).values[1]
            for row, number in enumerate(batch.documents):
                own = value[row][batch.scored[row]]
                sums.add(own, torch.full((len(own),), number), narrow, wide)
        expected = sums.found(dataset)
        assert torch.allclose(stitched.change, expected.change, atol=1e-5)
        assert stitched.documents == expected.documents
        assert stitched.tokens == expected.tokens
        assert not math.isnan(stitched.error)


def test_unlike_widths_and_no_text_are_refused():
    with pytest.raises(UserError, match="reads activations of width 6, the wider of width 7"):
        StitchingSums(8).add(torch.zeros(1, 6), torch.zeros(1).long(), random_sae(0, 6, 8), random_sae(1, 7, 8))
    with pytest.raises(UserError, match="there is no token to stitch on"):
        StitchingSums(8).found("prose")
