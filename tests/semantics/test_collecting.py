import torch

from sae_match.semantics.collecting import collect
from sae_match.semantics.contexts import Contexts
from tests.evaluation.validating import collection_of, text_of, validated


def test_one_pass_finds_what_a_validation_does(bundled_model, tmp_path):
    data, collection = text_of(bundled_model[1]), collection_of(2, 3)
    observed = Contexts(strongest=3, sample=5)
    module = validated(bundled_model, tmp_path, collection, data, observers=[observed], arms=["layer_drop"])
    alone, told = Contexts(strongest=3, sample=5), []
    active = collect(
        bundled_model[0],
        "residual",
        module.open_sae,
        {2: 1024, 3: 1024},
        data.batches,
        alone,
        lambda *at: told.append(at),
    )
    assert torch.equal(alone.flat(), observed.flat())
    for layer in (2, 3):
        counted = sum(module.tally.active((layer, dataset)) for dataset in ("prose", "code"))
        assert torch.equal(active[layer], counted.long())
    assert told[-1] == (len(data.batches), len(data.batches))
