import json
from collections import Counter
from itertools import chain, islice

import pytest

from sae_match.errors import UserError
from sae_match.text.documents import PARTS, part_of
from sae_match.text.drawing import in_seeded_order, works_of_part
from sae_match.text.files import TextFile
from sae_match.text.settings import SourceSettings
from sae_match.text.sources import open_source


@pytest.fixture
def folder(tmp_path):
    """Thirty files of forty rows each; a row says where it stands."""
    for shard in range(30):
        rows = [json.dumps({"text": f"{shard} {row}"}) for row in range(40)]
        (tmp_path / f"{shard:02}.jsonl").write_text("\n".join(rows))
    return tmp_path


def source(folder, **changes):
    return SourceSettings("jsonl", str(folder), **changes)


def drawn(settings, part="evaluation", seed=0, number=None):
    return [document.text for document in islice(in_seeded_order(settings, part, seed), number)]


def test_every_document_of_the_part_comes_once_and_parts_share_none(folder):
    parts = [drawn(source(folder), part) for part in PARTS]
    assert sorted(chain(*parts)) == sorted(f"{shard} {row}" for shard in range(30) for row in range(40))
    assert all(len(set(part)) == len(part) for part in parts)
    assert len(parts[0]) > 6 * len(parts[1])
    for part, texts in zip(PARTS, parts, strict=True):
        assert sorted(texts) == sorted(work.text for work in works_of_part(source(folder), part))


def test_the_order_follows_from_the_seed_alone(folder):
    assert drawn(source(folder)) == drawn(source(folder)) != drawn(source(folder), seed=1)
    assert drawn(source(folder), seed=-1) == drawn(source(folder), seed=-1)
    assert sorted(drawn(source(folder))) == sorted(drawn(source(folder), seed=1))


def test_the_first_documents_come_from_many_files_and_places(folder):
    places = [tuple(map(int, text.split())) for text in drawn(source(folder, whole=True, buffer=300), number=100)]
    shards = Counter(shard for shard, _ in places)
    assert len(shards) >= 9
    assert set(shards) != set(range(10))
    assert max(row for _, row in places) > 20
    assert places != sorted(places)


def test_reading_stops_when_enough_is_taken(folder, monkeypatch):
    opened = []
    whole = TextFile.open
    monkeypatch.setattr(TextFile, "open", lambda file: (opened.append(file.name), whole(file))[1])
    drawn(source(folder, whole=True, buffer=20), number=10)
    assert len(opened) <= 10


def test_whole_lifts_the_division_into_parts(folder):
    everything = drawn(source(folder, whole=True))
    assert len(everything) == 30 * 40
    assert sorted(everything) == sorted(drawn(source(folder, whole=True), "training"))


def test_passages_of_a_work_stay_in_one_part_and_are_mixed(tmp_path):
    for number in range(20):
        paragraphs = [f"work {number} paragraph {count} " + "x" * 50 for count in range(10)]
        (tmp_path / f"{number}.txt").write_text("\n\n".join(paragraphs))
    settings = SourceSettings("text", str(tmp_path), passage=40)
    documents = list(in_seeded_order(settings, "training", 0))
    works = {document.group for document in documents}
    assert works == {work.group for work in open_source(settings) if part_of(work.group) == "training"}
    assert len(documents) == 10 * len(works)
    assert len({document.id for document in documents}) == len(documents)
    assert len({document.group for document in documents[:10]}) > 3


def test_errors_of_files_come_through(tmp_path):
    (tmp_path / "a.jsonl").write_text("broken")
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: no JSON"):
        drawn(source(tmp_path))
    with pytest.raises(UserError, match="unknown text source"):
        in_seeded_order(SourceSettings("soto"), "evaluation", 0)
