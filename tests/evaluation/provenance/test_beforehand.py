import re
from pathlib import Path

import pytest

from sae_match import bundled
from sae_match.evaluation.check import Findings
from sae_match.evaluation.passes.memory import size_of
from sae_match.evaluation.provenance.beforehand import check_modules
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from tests.evaluation.validating import collection_of


def modules(site="mlp", layers=range(8)):
    folder = bundled.path("saes_mlp")
    which = {layer: gemma_scope.only_one(folder, layer, 512) for layer in layers}
    return SAECollection("gemma_scope", folder, layers=which, site=site)


def test_saes_of_the_layers_that_both_have_are_counted():
    findings = Findings()
    check_modules(findings, collection_of(2, 3), {"mlp": modules()}, 8)
    ((name, said),) = findings.rows
    assert (name, findings.missing) == ("mlp SAEs", [])
    files = [*Path(bundled.path("saes_mlp")).glob("layer_[23]/**/params.npz")]
    assert f"saes_mlp: 2 layers, {size_of(sum(file.stat().st_size for file in files))}" in said


@pytest.mark.parametrize(
    ("site", "rotations", "message"),
    [
        ("attention", 8, "provenance: mlp=.* reads the site attention; mlp.site must be mlp"),
        ("mlp", 0, "provenance: which rows are alike is judged against chance"),
    ],
)
def test_what_does_not_fit_is_said(site, rotations, message):
    findings = Findings()
    check_modules(findings, collection_of(2, 3), {"mlp": modules(site)}, rotations)
    (said,) = findings.missing
    assert re.match(message, said)


def test_a_missing_file_is_named():
    findings = Findings()
    given = modules(layers=(3,))
    missing = SAECollection(given.format, given.source, layers={3: {"width": "512", "l0": 99}}, site="mlp")
    check_modules(findings, collection_of(2, 3), {"mlp": missing}, 8)
    assert findings.missing[0].startswith("mlp: SAE of layer 3: ")
