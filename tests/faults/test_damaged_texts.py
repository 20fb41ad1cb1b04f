"""Whatever is damaged in a file of texts: a clear refusal, or the texts that it holds, and never others."""

import collections
from random import Random

import pytest

from sae_match.errors import UserError
from sae_match.text.files import ENDINGS, TextFile
from sae_match.text.reading import texts
from tests.faults.refusals import naming, refused, tell
from tests.faults.texts import READERS, TEXTS, damaged

# Far mutations that once ended otherwise: an empty file, and one that ended the process.
FOUND = {"gzip": (3508,), "parquet": (1960,)}


def outcome(case, path, allowed):
    """What came of a damaged file; fails if it is none of what may come of it."""
    file = TextFile(case.name, str(path), path.stat().st_size)
    try:
        read = list(texts(file, case.kind, "text"))
    except UserError as error:
        return refused(error, path)
    assert all(isinstance(text, str) for text in read)
    sound = case.plainly(case.content)
    # A packed file may rightly be there twice, one behind the other.
    if read in (sound, 2 * sound):
        return "same"
    assert allowed == "as said"
    assert read == case.plainly(path.read_bytes())
    return allowed


def of_each(name, mutations, folder, capsys):
    case, path = READERS[name], folder / READERS[name].name
    counts = collections.Counter()
    for number in {*range(mutations), *FOUND.get(name, ())}:
        content, allowed = damaged(case, Random(f"{name} {number}"))
        path.write_bytes(content)
        with naming(number, name, allowed):
            counts[outcome(case, path, allowed)] += 1
    assert counts["refused"] > mutations / 10
    assert counts.total() >= mutations
    tell(capsys, name, mutations, counts)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_or_read_as_it_is(name, damages, tmp_path, capsys):
    of_each(name, damages, tmp_path, capsys)


def test_every_kind_of_file_is_damaged():
    assert {case.kind for case in READERS.values()} == {*ENDINGS}


@pytest.mark.parametrize("name", READERS)
def test_the_plainest_reading_is_right_for_a_sound_file(name):
    case = READERS[name]
    assert case.plainly(case.content) == ([case.content.decode()] if name == "text" else TEXTS)
