import sqlite3
import time
from dataclasses import replace

import pytest

from sae_match.errors import UserError
from sae_match.semantics.judge.server.reading import Reply, Usage
from sae_match.semantics.judge.server.store import FILE, OrderedPair, Origin, Store
from tests.semantics.judge.conftest import spent_in_all

ORDER = OrderedPair("openai", "m", "http://a", "v1", 0, "red", "green")


def test_an_answer_is_found_by_everything_that_it_depends_on(tmp_path):
    Store(tmp_path).keep(ORDER, Reply(3))
    others = [
        replace(ORDER, **{name: 1 if name == "again" else "other"})
        for name in ("kind", "model", "base_url", "prompt", "again", "first", "second")
    ]
    others.append(replace(ORDER, first="green", second="red"))
    store = Store(tmp_path)
    assert store.find([ORDER, *others]) == {ORDER: Reply(3)}
    assert store.claim(ORDER) == Reply(3)


def test_what_the_model_said_can_be_looked_up(tmp_path):
    Store(tmp_path).keep(ORDER, Reply(3, said="Both are fruit.\nLabel: 3"))
    with sqlite3.connect(tmp_path / FILE) as database:
        rows = database.execute("select first, second, label, said from answers").fetchall()
    database.close()
    assert rows == [("red", "green", 3, "Both are fruit.\nLabel: 3")]


def test_whether_any_question_of_an_origin_is_answered(tmp_path):
    origin = Origin("openai", "m", "http://a", "v1", 0)
    assert not Store(tmp_path).holds_any(origin)
    Store(tmp_path).keep(ORDER, Reply(3))
    assert Store(tmp_path).holds_any(origin)
    for name in origin._fields:
        assert not Store(tmp_path).holds_any(origin._replace(**{name: 1 if name == "again" else "other"}))


def test_a_refusal_is_an_answer(tmp_path):
    refusal = Reply(None, "refused: 'no'", refused=True)
    Store(tmp_path).keep(ORDER, refusal)
    assert Store(tmp_path).find([ORDER]) == {ORDER: refusal}


def test_many_answers_are_found_at_once(tmp_path):
    store = Store(tmp_path)
    orders = [replace(ORDER, first=f"thing {index}") for index in range(1200)]
    for order in orders[::2]:
        store.keep(order, Reply(1))
    assert list(store.find(orders)) != orders
    assert set(store.find(orders)) == set(orders[::2])


def test_one_process_asks_at_a_time(tmp_path):
    one, other = Store(tmp_path), Store(tmp_path)
    assert one.claim(ORDER) == "mine"
    assert one.claim(ORDER) == "mine"
    assert other.claim(ORDER) == "busy"
    assert other.claim(replace(ORDER, again=1)) == "mine"
    one.release(ORDER)
    assert other.claim(ORDER) == "mine"
    other.keep(ORDER, Reply(2))
    assert one.claim(ORDER) == Reply(2)


def test_the_claim_of_a_process_that_died_expires(tmp_path):
    dead, other = Store(tmp_path, lease=0.2), Store(tmp_path)
    dead.claim(ORDER)
    assert other.claim(ORDER) == "busy"
    time.sleep(0.3)
    assert other.claim(ORDER) == "mine"
    assert dead.claim(ORDER) == "busy"


def test_a_claim_from_before_the_clock_was_set_back_holds_nobody_up(tmp_path):
    ahead, other = Store(tmp_path), Store(tmp_path)
    ahead.claim(ORDER)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("update claims set until = until + 10 * 365 * 86400")
    database.close()
    assert other.claim(ORDER) == "mine"


def test_the_claim_of_a_process_that_lives_lasts_and_ends_with_it(tmp_path):
    one, other = Store(tmp_path, lease=1.2), Store(tmp_path)
    with one.alive():
        one.claim(ORDER)
        time.sleep(2.0)
        assert other.claim(ORDER) == "busy"
    assert other.claim(ORDER) == "mine"


def test_what_was_spent_is_summed_over_runs_for_each_model(tmp_path):
    Store(tmp_path).record("m", "http://a", Usage(10, 1), 0.5)
    Store(tmp_path).record("m", "http://a", Usage(10, 1), 0.25)
    Store(tmp_path).record("n", "http://a", Usage(10, 1), 4.0)
    Store(tmp_path).record("m", "http://a", Usage(10, 1), None)
    with sqlite3.connect(tmp_path / FILE) as database:
        rows = database.execute("select model, count(*), sum(cost) from calls group by model").fetchall()
    database.close()
    assert rows == [("m", 3, 0.75), ("n", 1, 4.0)]
    assert spent_in_all(tmp_path) == 4.75


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot keep answers in"):
        Store(tmp_path / "file")


def test_a_folder_that_exists_and_cannot_be_written_is_refused(tmp_path):
    # In the place of its lock; as a user who may write everywhere can have it, too.
    (tmp_path / FILE).with_suffix(".lock").mkdir()
    with pytest.raises(UserError, match=r"cannot keep answers in .*judge\.sqlite: Is a directory"):
        Store(tmp_path)


def test_a_file_that_is_something_else_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(UserError, match=FILE):
        Store(tmp_path)


@pytest.mark.parametrize("change", ["label = 2", "reason = 'another'", "said = 'another'", "checksum = null"])
def test_an_answer_that_is_not_what_was_kept_is_asked_for_again(tmp_path, caplog, change):
    store = Store(tmp_path)
    store.keep(ORDER, Reply(3, "so it is", said="Label: 3"))
    edited(tmp_path, f"update answers set {change}")
    assert store.find([ORDER]) == {}
    assert store.claim(ORDER) == "mine"
    assert f"{tmp_path / FILE} is damaged, and asked for again" in caplog.text
    store.keep(ORDER, Reply(3, "so it is", said="Label: 3"))
    assert store.find([ORDER]) == {ORDER: Reply(3, "so it is", said="Label: 3")}


def test_answers_of_the_version_without_checksums_are_kept(tmp_path):
    Store(tmp_path).keep(ORDER, Reply(3))
    edited(tmp_path, "alter table answers drop column checksum", "pragma user_version = 2")
    assert Store(tmp_path).find([ORDER]) == {ORDER: Reply(3)}
    assert Store(tmp_path).find([ORDER]) == {ORDER: Reply(3)}


def edited(folder, *statements):
    """What somebody else does to the file."""
    with sqlite3.connect(folder / FILE) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def test_a_file_of_another_version_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("pragma user_version = 99")
    database.close()
    with pytest.raises(UserError, match="another version"):
        Store(tmp_path)
