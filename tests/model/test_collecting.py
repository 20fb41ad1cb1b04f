import pytest
import torch

from sae_match.errors import UserError
from sae_match.model.collecting import values_of
from sae_match.model.residual_stream import ResidualStream
from tests.model.architectures import VOCABULARY, random_model


def test_a_token_that_the_model_does_not_know_is_refused_unless_it_is_padding():
    stream = ResidualStream(random_model("llama"))
    ids, mask = torch.tensor([[1, 2, 1]]), torch.tensor([[True, True, False]])
    assert list(values_of(stream, ids, mask, [0])) == [0]
    with pytest.raises(UserError, match=rf"token {VOCABULARY} of the text.*has {VOCABULARY} rows"):
        values_of(stream, torch.tensor([[1, VOCABULARY, 1]]), mask, [0])
