"""In a network made by hand every causal pair is found, and nothing else."""

import pytest
import torch

from sae_match.evaluation.arm_names import MATCHED, RANDOM
from sae_match.evaluation.causal.effects import DOCUMENT, EITHER, FEATURE, Effects
from sae_match.evaluation.causal.findings import CausalFindings
from sae_match.evaluation.causal.measures import AGREEMENT, CARRIED, TOP, UNDEFINED, of_features
from sae_match.evaluation.causal.sample import ARMS, NEAREST_OTHER, RANDOM_LIVE, nearest_other
from sae_match.evaluation.causal.switching import Switching
from sae_match.evaluation.passes.blocks import Blocks
from tests.evaluation.causal.planted import (
    ALSO_COPIED,
    COPIED,
    ENDS,
    EVERY,
    FEATURES,
    LAST,
    MAKES,
    OF_MADE,
    OF_TURNED,
    TRUE,
    TURNED,
    planted_measurement,
    sample_of,
    switched,
)


@pytest.mark.parametrize("target", [1, 2])
def test_every_causal_pair_is_found(target):
    sample = sample_of(pair=(0, target))
    found = of_features(sample, switched(sample, 0, 1), 0)
    carried, agreement = found.carried[:, 0], found.agreement[:, 0]
    for feature in (COPIED, ALSO_COPIED, TURNED, MAKES, LAST):
        assert carried[feature] == 1
        assert agreement[feature] == pytest.approx(1)
    # What it makes is 1.5 times itself.
    assert found.cause.tolist() == [COPIED, ALSO_COPIED, OF_TURNED, OF_MADE, -1, LAST]
    assert found.rank[MATCHED].tolist() == [1, 1, 1, 2, 0, 1]


def test_what_a_feature_makes_follows_it_without_being_like_it():
    sample = sample_of(other=torch.tensor([COPIED, COPIED, COPIED, OF_MADE, COPIED, COPIED]))
    found = of_features(sample, switched(sample), 0)
    column = ARMS.index(NEAREST_OTHER)
    assert found.carried[MAKES, column] == 1
    # The next word does not depend on it: switched off, it changes nothing.
    assert found.agreement[MAKES, column].isnan()


def test_a_feature_that_ends_causes_nothing_and_that_is_said():
    sample = sample_of(TRUE.index_fill(0, torch.tensor([ENDS]), COPIED))
    effects = switched(sample)
    found = of_features(sample, effects, 0)
    assert found.carried[ENDS, 0] == 0
    assert int(found.cause[ENDS]) == -1
    # Its removal changes nothing behind the layer that ends it, so there is nothing to correlate.
    assert found.agreement[ENDS, 0].isnan()
    results = {
        (row.arm, row.metric): row.value for row in CausalFindings.of({(0, 1): (sample, effects)}, ["words"], 0).results
    }
    assert results[MATCHED, f"{AGREEMENT}{UNDEFINED}"] == pytest.approx(1 / FEATURES)
    assert results[MATCHED, f"{TOP}{UNDEFINED}"] == pytest.approx(1 / FEATURES)
    assert results[MATCHED, AGREEMENT] == pytest.approx(1)
    assert results[MATCHED, CARRIED] == pytest.approx((FEATURES - 1) / FEATURES)
    # Without a partner there is no number at all.
    assert results[RANDOM, f"{CARRIED}{UNDEFINED}"] == 1
    assert (RANDOM, CARRIED) not in results


def test_a_feature_that_is_active_nowhere_in_a_batch_is_left_alone():
    sample = sample_of(share=0.0)
    assert len(switched(sample).rows.names) == 0
    assert not of_features(sample, switched(sample), 0).documents.any()


def test_a_random_live_feature_is_another_one_that_is_active_there():
    sample = sample_of()
    at = planted_measurement()
    switching = Switching(at, sample, ["words"], 0)
    row, feature = switching._work()
    own = switching._values(switching.f_source, switching.token[row], feature)
    of, place = (own > 0).nonzero(as_tuple=True)
    drawn = switching._partners(row, feature, of, switching.token[row][of, place])[:, ARMS.index(RANDOM_LIVE)]
    for number, (document, one) in enumerate(zip(row.tolist(), feature.tolist(), strict=True)):
        active = {
            int(other)
            for token in (at.document == document).nonzero()[:, 0]
            if switching.f_source[token, one] > 0
            for other in switching.f_target[token].nonzero()[:, 0]
        } - {int(TRUE[one])}
        assert int(drawn[number]) in active
    assert len(drawn.unique()) > 2


def test_numbers_do_not_depend_on_how_much_runs_side_by_side():
    sample = sample_of(share=0.7)
    expected = switched(sample)
    alone = Effects(FEATURES, FEATURES)
    at = planted_measurement()
    switching = Switching(at, sample, ["words"], 0)
    switching.blocks = Blocks(1, 3)
    switching.add_to(alone)
    for effects in (alone, switched(sample, one_at_a_time=True)):
        assert torch.equal(effects.rows.names, expected.rows.names)
        assert torch.allclose(effects.rows.sums, expected.rows.sums, atol=1e-6)
        assert torch.equal(effects.falls.keys, expected.falls.keys)
        assert torch.allclose(effects.falls.values, expected.falls.values, atol=1e-6)


def test_shares_of_the_text_add_up_in_any_order():
    sample = sample_of()
    whole = switched(sample, 0, 1, 2)
    joined = Effects(FEATURES, FEATURES)
    for part in (switched(sample, 2), switched(sample, 0, 1)):
        assert len(joined.fill(torch.cat([part.flat(), torch.ones(3, dtype=torch.float64)]))) == 3
    for effects in (joined, whole):
        names = effects.rows.names
        assert names[:, [FEATURE, DOCUMENT]].tolist() == sorted(names[:, [FEATURE, DOCUMENT]].tolist())
    assert torch.equal(joined.rows.sums, whole.rows.sums)
    assert torch.equal(joined.falls.keys, whole.falls.keys)
    assert torch.allclose(joined.falls.values, whole.falls.values, rtol=1e-12)
    for cut in (0, 1, 5, len(whole.flat()) - 1):
        with pytest.raises(ValueError, match="cut off"):
            Effects(FEATURES, FEATURES).fill(whole.flat()[:cut])


def test_tokens_of_agreement_are_those_on_which_either_is_active():
    sample, at = sample_of(), planted_measurement()
    rows = switched(sample).rows
    f_source, f_target = (at.features(end).f > 0 for end in (0, 1))
    for name, sums in zip(rows.names.tolist(), rows.sums, strict=True):
        here = at.document == name[DOCUMENT]
        either = f_source[:, name[FEATURE]] | f_target[:, int(TRUE[name[FEATURE]])]
        assert int(sums[0, EITHER]) == int((either & here).sum())


def test_the_nearest_other_is_most_alike_but_for_the_partner():
    at = planted_measurement()
    source, target = (at.subject.open_sae(layer) for layer in (0, 1))
    # Itself where that is not its partner; elsewhere whatever comes first of those that are not like it at all.
    found = nearest_other(source, target, EVERY, torch.tensor([LAST, ALSO_COPIED, LAST, COPIED, LAST, -1]))
    assert found[[COPIED, MAKES, LAST]].tolist() == [COPIED, MAKES, LAST]
    assert found[ALSO_COPIED] != ALSO_COPIED
