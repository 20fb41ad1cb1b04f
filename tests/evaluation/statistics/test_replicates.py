import json
from dataclasses import replace

import pytest
import torch

from sae_match.bootstrap import interval
from sae_match.errors import UserError
from sae_match.evaluation.statistics import replicates
from sae_match.evaluation.statistics.measures import results_of
from sae_match.evaluation.statistics.replicates import Number, Replicates, hashes_of
from sae_match.text.batches import TokenBatch, nothing_of
from tests.evaluation.statistics.tallies import filled


def batch(rows, first=0, dataset="prose", fill=0):
    """Documents, BOS in front, padded on the right."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    scored = mask.clone()
    scored[:, 0] = False
    return TokenBatch(dataset, ids, mask, scored, tuple(range(first, first + len(rows))))


ROWS = [[1, 5, 6], [1, 7], [1, 8, 9, 4]]


@pytest.fixture
def found():
    tally, _ = filled(30, [(0, 1), (1, 2)])
    return Replicates.of(tally, [batch(ROWS)], 7)


def test_every_number_with_an_interval_has_the_replicates_of_it(found):
    tally, _ = filled(30, [(0, 1), (1, 2)])
    for row in results_of(tally):
        number = Number(row.source_layer, row.target_layer, row.arm, row.dataset, row.metric)
        if number in found.values:
            assert float(found.values[number][0]) == row.value
            assert interval(found.values[number]) == (None if row.low is None else (row.low, row.high))
    assert len(found.values) == 2 * (4 + 7)
    assert (found.documents, found.seed) == ({"prose": 30}, 7)


def test_what_is_read_is_what_was_written(found, tmp_path):
    file = tmp_path / "replicates.safetensors"
    found.save(file)
    read = Replicates.load(file)
    assert (read.documents, read.texts, read.seed) == (found.documents, found.texts, found.seed)
    assert list(read.values) == list(found.values)
    for number, rows in found.values.items():
        assert read.values[number][0] == rows[0]
        apart = (rows[1:] - rows[0]).abs().max()
        assert (read.values[number] - rows).abs().max() <= 1e-7 * apart
    # 4 kB a number, and what they are called.
    assert file.stat().st_size < len(found.values) * 4300 + 1500


def test_a_number_that_does_not_exist_is_kept_as_that(found, tmp_path):
    number = next(iter(found.values))
    values = {**found.values, number: torch.full_like(found.values[number], torch.nan)}
    replace(found, values=values).save(tmp_path / "one.safetensors")
    assert Replicates.load(tmp_path / "one.safetensors").values[number].isnan().all()


def test_a_damaged_file_is_refused(found, tmp_path):
    file = tmp_path / "replicates.safetensors"
    found.save(file)
    spoilt = bytearray(file.read_bytes())
    spoilt[-5] ^= 1
    file.write_bytes(spoilt)
    with pytest.raises(UserError, match=r"replicates\.safetensors is damaged: it is not what its checksum says"):
        Replicates.load(file)
    file.write_bytes(spoilt[:100])
    with pytest.raises(UserError, match="is not a sound replicates file"):
        Replicates.load(file)
    with pytest.raises(UserError, match="there is no file"):
        Replicates.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("what", ["kind", "numbers", "seed"])
def test_a_file_of_something_else_is_refused(found, tmp_path, monkeypatch, what):
    file = tmp_path / "replicates.safetensors"
    told = {"kind": '"k"', "numbers": json.dumps([[0, 1, "matched", "prose", "jaccard"]]), "seed": '"x"'}
    written = replicates.save_tensors

    def otherwise(path, tensors, notes):
        written(path, tensors, {**notes, what: told[what]})

    monkeypatch.setattr(replicates, "save_tensors", otherwise)
    found.save(file)
    with pytest.raises(UserError, match=r"was not written by Replicates\.save"):
        Replicates.load(file)


def test_documents_are_known_by_their_tokens_however_they_are_batched():
    alone = hashes_of([batch(ROWS)])
    assert hashes_of([batch(ROWS[:1]), batch(ROWS[1:], 1, fill=3)]) == alone
    assert hashes_of([batch(ROWS[2:], 2), batch(ROWS[:2])]) == alone
    assert hashes_of([batch(ROWS, dataset="code")]) == {"code": alone["prose"]}
    assert hashes_of([nothing_of(batch(ROWS))]) == {}
    others = [ROWS[:2], [*ROWS[:2], [1, 8, 9]], [*ROWS[:2], [1, 8, 9, 5]], [ROWS[1], ROWS[0], ROWS[2]]]
    assert len({alone["prose"], *(hashes_of([batch(rows)])["prose"] for rows in others)}) == 5


def test_which_tokens_are_scored_belongs_to_what_documents_are():
    packed = batch(ROWS)
    packed.scored[2, 2] = False
    assert hashes_of([packed]) != hashes_of([batch(ROWS)])
