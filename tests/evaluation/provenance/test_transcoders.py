"""Transcoders in place of MLP SAEs: what they write is what plain hooks see the MLP add."""

import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation.check import Findings
from sae_match.evaluation.provenance.beforehand import check_modules
from sae_match.evaluation.provenance.study import ProvenanceStudy
from sae_match.saes.collection import SAECollection
from sae_match.saes.exporting import export_sae
from sae_match.saes.sae import SAE, Transcoder
from tests.evaluation.validating import collection_of

LAYERS, LAYER = (2, 3), 3


@pytest.fixture(scope="module")
def written(bundled_model):
    """What the MLP of a layer adds on a few tokens, by a plain hook behind the norm that follows it."""
    stream, _ = bundled_model
    seen, ids = [], torch.arange(5, 205)[None]
    block = stream.model.model.layers[LAYER]
    handle = block.post_feedforward_layernorm.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    with torch.no_grad():
        stream.model(ids)
    handle.remove()
    return seen[0][0].float()


def dictionary(kind, rows):
    """A dictionary that writes these rows, whatever it reads."""
    m, d = rows.shape
    W_enc = torch.randn(d, m, generator=torch.Generator().manual_seed(0))
    return kind(W_enc, torch.zeros(m), rows, torch.zeros(d), activation="relu")


def collected(sae, folder, layout, site):
    which = export_sae(sae, folder, layout, layer=LAYER, model="bundled", site=site)
    return SAECollection(layout, str(folder), layers={LAYER: which}, site=site)


def origin(bundled_model, modules):
    study = ProvenanceStudy(bundled_model[0], collection_of(*LAYERS), {"mlp": modules}, rotations=1)
    return study.found().layers[LAYER].origins["mlp"]


def test_features_are_held_against_what_the_mlp_writes(bundled_model, written, tmp_path):
    given = collected(dictionary(Transcoder, written), tmp_path / "read", "circuit_tracer", "mlp_input")
    found, rows = origin(bundled_model, given), collection_of(*LAYERS).open(LAYER).W_dec
    for feature in range(0, len(rows), 50):
        cosines = [float(rows[feature].double() @ row.double() / row.double().norm()) for row in written]
        best = max(range(len(cosines)), key=cosines.__getitem__)
        assert found.nearest[feature] == best
        assert float(found.score[feature]) == pytest.approx(cosines[best] / float(rows[feature].norm()), abs=1e-5)
    # SAEs that read what the MLP adds, and write the same rows, say the same.
    same = collected(dictionary(SAE, written), tmp_path / "added", "sae_lens", "mlp")
    by_saes = origin(bundled_model, same)
    torch.testing.assert_close(found.score, by_saes.score, rtol=0, atol=0)
    torch.testing.assert_close(found.q, by_saes.q, rtol=0, atol=0)


def test_what_reads_there_and_is_no_transcoder_is_refused(bundled_model, written, tmp_path):
    saes = collected(dictionary(SAE, written), tmp_path, "sae_lens", "mlp_input")
    with pytest.raises(UserError, match="reads what the MLP of layer 3 reads, and is no transcoder"):
        origin(bundled_model, saes)
    findings = Findings()
    check_modules(findings, collection_of(*LAYERS), {"mlp": saes}, 8)
    assert ["is no transcoder" in line for line in findings.missing] == [True]


def test_check_counts_transcoders(written, tmp_path):
    findings = Findings()
    given = collected(dictionary(Transcoder, written), tmp_path, "circuit_tracer", "mlp_input")
    check_modules(findings, collection_of(*LAYERS), {"mlp": given}, 8)
    assert findings.missing == []
    assert "1 layer," in dict(findings.rows)["mlp SAEs"]
