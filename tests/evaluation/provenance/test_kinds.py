import torch

from sae_match.evaluation.provenance.kinds import (
    CARRIED,
    KINDS,
    NEWBORN,
    NOT_TESTED,
    PROCESSED,
    UNEXPLAINED,
    LayerProvenance,
    kinds_of,
)
from sae_match.evaluation.provenance.origins import origin_of
from tests.evaluation.provenance.planted import (
    CHANGED,
    COPIED,
    MADE_BY_ATTENTION,
    MADE_BY_MLP,
    NOWHERE,
    OF_EACH,
    planted,
)

WHAT = {
    COPIED: CARRIED,
    CHANGED: PROCESSED,
    MADE_BY_MLP: NEWBORN,
    MADE_BY_ATTENTION: NEWBORN,
    NOWHERE: UNEXPLAINED,
}


def test_every_combination_has_its_kind():
    yes, no = torch.tensor([True]), torch.tensor([False])
    table = {
        (True, False, False): "carried over",
        (True, True, False): "processed",
        (True, False, True): "processed",
        (True, True, True): "processed",
        (False, True, False): "newborn",
        (False, False, True): "newborn",
        (False, True, True): "newborn",
        (False, False, False): "unexplained",
    }
    for (residual, mlp, attention), name in table.items():
        like = {"residual": yes if residual else no, "mlp": yes if mlp else no, "attention": yes if attention else no}
        assert KINDS[int(kinds_of(like, yes))] == name
        assert int(kinds_of(like, no)) == NOT_TESTED
    # Of what there is no SAE of, there is nothing alike.
    assert KINDS[int(kinds_of({"mlp": yes}, yes))] == "newborn"


def of_planted(seed):
    rows, planted_kinds, sources = planted(seed)
    origins = {name: origin_of(rows, of_source, rotations=4) for name, of_source in sources.items()}
    return LayerProvenance(3, origins, 0.05), planted_kinds


def test_every_planted_feature_is_of_the_kind_that_it_was_planted_as():
    found, planted_kinds = of_planted(0)
    for kind, expected in WHAT.items():
        right = (found.kinds[planted_kinds == kind] == expected).double().mean()
        # One in twenty of the significant ones may be wrong, by what a q-value is.
        assert float(right) >= 0.9, (kind, float(right))
    assert float((found.kinds == torch.tensor([WHAT[int(kind)] for kind in planted_kinds])).double().mean()) >= 0.94


def test_what_made_a_newborn_feature_is_told():
    found, planted_kinds = of_planted(1)
    made = found.made_by()
    assert float(made["mlp"][planted_kinds == MADE_BY_MLP].double().mean()) >= 0.9
    assert float(made["attention"][planted_kinds == MADE_BY_ATTENTION].double().mean()) >= 0.9
    assert not bool(made["mlp"][planted_kinds == COPIED].any())
    total = torch.stack(list(made.values())).sum(0)
    assert torch.equal(total == 1, found.kinds == NEWBORN)


def test_fixed_cuts_call_strangers_newborn():
    found, planted_kinds = of_planted(2)
    strangers = planted_kinds == NOWHERE
    assert int((found.kinds[strangers] == UNEXPLAINED).sum()) >= 0.9 * OF_EACH
    # In crowded directions a module's cut of 0.15 is what chance gives.
    assert int((found.kinds_by_cut[strangers] == UNEXPLAINED).sum()) < 0.1 * OF_EACH
