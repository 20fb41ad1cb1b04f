import copy

import pytest
import torch

from sae_match.model.fingerprint import fingerprint


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_single_bit_of_a_single_weight_makes_another_model(tiny_stream, where):
    for name, _ in tiny_stream.model.named_parameters():
        changed = copy.deepcopy(tiny_stream)
        weights = dict(changed.model.named_parameters())[name].data.view(torch.int32).flatten()
        weights[0 if where == "first" else -1] ^= 1
        assert fingerprint(changed) != fingerprint(tiny_stream), name


def test_the_same_weights_are_the_same_model(tiny_stream):
    assert fingerprint(copy.deepcopy(tiny_stream)) == fingerprint(tiny_stream)


def test_a_parameter_without_values_counts_by_name_and_shape(tiny_stream):
    away = copy.deepcopy(tiny_stream)
    away.layers[0].mlp.to("meta")
    assert fingerprint(away) != fingerprint(tiny_stream)
    assert fingerprint(away) == fingerprint(copy.deepcopy(away))


@pytest.mark.parametrize(("persistent", "counts"), [(True, True), (False, False)])
def test_a_buffer_counts_where_a_checkpoint_holds_it(tiny_stream, persistent, counts):
    several = [copy.deepcopy(tiny_stream) for _ in range(2)]
    for number, stream in enumerate(several):
        # As routers keep what they add to the scores of their experts.
        stream.layers[0].mlp.register_buffer("bias", torch.full((3,), float(number)), persistent=persistent)
    names = {fingerprint(stream) for stream in several}
    assert (len(names) > 1) == counts
