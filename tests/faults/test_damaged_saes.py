"""Whatever is damaged in the files of an SAE: a clear refusal, or the SAE that they hold, and never another."""

import collections
from random import Random

import pytest
import torch

from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.saes.formats import FORMATS as LOADERS
from sae_match.saes.formats import describe_sae
from tests.faults.refusals import naming, refused, tell
from tests.faults.saes import FORMATS, damaged, unpacked
from tests.saes.formats.layouts import D_IN, D_SAE

# Far mutations that once ended otherwise: a decoder row whose squares are no numbers any more.
FOUND = {"llama_scope": (7051,)}


def outcome(case, name, folder, allowed, original):
    """What came of a damaged SAE; fails if it is none of what may come of it."""
    try:
        describe_sae(name, str(folder), layer=3, **case.which)
    except UserError as error:
        refused(error, folder)
    try:
        sae = load_sae(name, str(folder), layer=3, **case.which)
    except UserError as error:
        return refused(error, folder)
    assert (sae.d_in, sae.d_sae) == (D_IN, D_SAE)
    assert all(torch.isfinite(tensor).all() for tensor in sae.tensors().values())
    if sae.content_hash() == original:
        return "same"
    assert allowed != "same"
    if allowed == "as said":
        said = case.formula(unpacked(case, (folder / case.weights).read_bytes()))
        for key, tensor in sae.tensors().items():
            assert torch.allclose(tensor.double(), said[key].double(), rtol=1e-4, atol=1e-6), key
    return allowed


def counted(name, mutations, folder):
    case = FORMATS[name]
    case.write(folder)
    original = load_sae(name, str(folder), layer=3, **case.which).content_hash()
    sound = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    counts = collections.Counter()
    for number in {*range(mutations), *FOUND.get(name, ())}:
        for file, content in sound.items():
            file.write_bytes(content)
        allowed = damaged(case, folder, Random(f"{name} {number}"))
        with naming(number, name, allowed):
            counts[outcome(case, name, folder, allowed, original)] += 1
    return counts


def of_each(name, mutations, folder, capsys):
    counts = counted(name, mutations, folder)
    assert counts["refused"] > mutations / 4
    tell(capsys, name, mutations, counts)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_sae_is_refused_or_the_one_in_its_files(name, damages, tmp_path, capsys):
    of_each(name, damages, tmp_path, capsys)


def test_every_format_is_damaged():
    assert {*FORMATS} == {*LOADERS}


@pytest.mark.parametrize("name", FORMATS)
def test_the_formulas_are_those_of_the_loaders(name, tmp_path):
    """What a damaged file is held against is right for a sound one."""
    case = FORMATS[name]
    case.write(tmp_path)
    sae = load_sae(name, str(tmp_path), layer=3, **case.which)
    said = case.formula(unpacked(case, (tmp_path / case.weights).read_bytes()))
    assert {*said} == {*sae.tensors()}
    assert all(torch.allclose(t.double(), said[key].double(), atol=1e-6) for key, t in sae.tensors().items())
