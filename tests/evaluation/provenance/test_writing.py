"""Rows of attention SAEs in the residual stream, against what the model itself makes of heads that are one-hot."""

import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation.provenance.writing import rows_in_residual
from sae_match.model.residual_stream import ResidualStream
from tests.model.architectures import VOCABULARY, random_model


def by_the_model(stream, layer, heads):
    """What a layer's attention adds to the residual stream where its heads give nothing but `heads`."""
    anatomy = stream.anatomy
    projection, behind = (anatomy.place(site, layer).module for site in ("attention", "attention_output"))
    given = heads.expand(1, 3, -1)
    seen = []
    handles = [
        projection.register_forward_pre_hook(lambda _module, inputs: (given.to(inputs[0]), *inputs[1:])),
        behind.register_forward_hook(lambda _module, _inputs, output: seen.append(output)),
    ]
    stream.model(torch.randint(1, VOCABULARY, (1, 3)))
    for handle in handles:
        handle.remove()
    return seen[0][0, 1]


@pytest.mark.parametrize("name", ["gemma_2", "llama"])
def test_a_row_points_where_the_model_makes_its_heads_point(name):
    torch.manual_seed(0)
    stream = ResidualStream(random_model(name))
    for parameter in stream.parameters():
        # Norms of a new model scale nothing.
        parameter.data += 0.3 * torch.randn_like(parameter) if parameter.ndim == 1 else 0
    width = stream.width("attention")
    rows = torch.cat([torch.eye(width), torch.randn(4, width)])
    written = torch.nn.functional.normalize(rows_in_residual(stream, "attention", 1, rows), dim=1)
    for row, found in zip(rows, written, strict=True):
        # Long, so that the norm's guard against division by zero plays no part.
        expected = by_the_model(stream, 1, 100 * row)
        torch.testing.assert_close(found, expected / expected.norm(), rtol=0, atol=2e-6)


def test_a_bias_behind_the_projection_is_no_part_of_a_row():
    torch.manual_seed(0)
    stream = ResidualStream(random_model("gpt_2"))
    projection = stream.anatomy.place("attention", 0).module
    projection.bias.data.normal_()
    rows = torch.randn(5, stream.width("attention"))
    found = rows_in_residual(stream, "attention", 0, rows)
    expected = rows @ projection.weight
    norm = torch.nn.functional.normalize
    torch.testing.assert_close(norm(found, dim=1), norm(expected, dim=1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("site", ["residual", "mlp", "attention_output"])
def test_rows_of_other_sites_lie_in_the_stream_as_they_are(site):
    rows = torch.randn(5, 7)
    assert torch.equal(rows_in_residual(ResidualStream(random_model("gpt_2")), site, 0, rows), rows)


def test_a_layer_without_the_site_is_refused():
    stream = ResidualStream(random_model("gpt_2"))
    for layer in stream.layers:
        layer.attn.c_proj_elsewhere = layer.attn.__dict__["_modules"].pop("c_proj")
    with pytest.raises(UserError, match="where site 'attention' would be"):
        rows_in_residual(stream, "attention", 0, torch.randn(5, 8))
