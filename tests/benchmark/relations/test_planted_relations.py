import pytest
import torch

from sae_match.benchmark.relations.planted import FEWEST, MOST, Fates, planted_activity, planted_relations
from sae_match.matching.relations.kinds import APPEAR, END, MERGE, ONE_TO_ONE, SPLIT

FATES = Fates(0.8, one_to_one=40, split=20, merge=10, end=15, appear=25)


@pytest.fixture(scope="module")
def planted():
    return planted_relations(FATES, 256, 0)


def test_as_many_features_have_each_fate_as_was_asked_for(planted):
    source, target = (torch.bincount(kind, minlength=7) for kind in (planted.source_kind, planted.target_kind))
    assert (source[ONE_TO_ONE], source[SPLIT], source[END]) == (40, 20, 15)
    assert (target[ONE_TO_ONE], target[MERGE], target[APPEAR]) == (40, 10, 25)
    assert 20 * FEWEST <= int(target[SPLIT]) <= 20 * MOST
    assert 10 * FEWEST <= int(source[MERGE]) <= 10 * MOST
    assert planted.source.d_sae == int(source.sum())
    assert planted.target.d_sae == int(target.sum())


def test_families_are_what_their_kinds_say(planted):
    for family in range(70):
        ours, theirs = planted.source_family == family, planted.target_family == family
        kinds = {*planted.source_kind[ours].tolist(), *planted.target_kind[theirs].tolist()}
        assert len(kinds) == 1
        many = {ONE_TO_ONE: (0, 0), SPLIT: (0, 1), MERGE: (1, 0)}[kinds.pop()]
        assert [FEWEST <= int(side.sum()) <= MOST for side in (ours, theirs)] == [bool(each) for each in many]
        assert min(int(ours.sum()), int(theirs.sum())) == 1
    assert ((planted.source_family < 0) == (planted.source_kind == END)).all()
    assert ((planted.target_family < 0) == (planted.target_kind == APPEAR)).all()


def test_relatives_have_the_cosine_that_was_asked_for(planted):
    cosines = planted.source.W_dec @ planted.target.W_dec.T
    kin = planted.source_family[:, None] == planted.target_family
    kin &= (planted.source_family >= 0)[:, None]
    assert float(cosines[kin].mean()) == pytest.approx(0.8, abs=0.02)
    assert float(cosines[~kin].abs().mean()) < 0.1


def test_parts_of_a_family_share_its_tokens_out(planted):
    source, target = planted_activity(planted, 500, 0, rate=0.2)
    for family in range(70):
        ours = source[:, planted.source_family == family]
        theirs = target[:, planted.target_family == family]
        assert torch.equal(ours.any(1), theirs.any(1))
        assert int(ours.sum(1).max()) == int(theirs.sum(1).max()) == 1
    alone = source[:, planted.source_family < 0]
    assert float(alone.double().mean()) == pytest.approx(0.2, abs=0.03)
