"""Answers that were paid for, kept in one SQLite file that any number of processes share."""

import hashlib
import json
import logging
import sqlite3
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Literal, NamedTuple

from filelock import FileLock

from sae_match.errors import UserError
from sae_match.semantics.judge.server.reading import Reply, Usage

log = logging.getLogger(__name__)

FILE = "judge.sqlite"
_VERSION = 3
# Answers of this version have no checksums yet.
_UNSEALED = 2
_SCHEMA = """
create table if not exists answers (
    key text primary key, kind text not null, model text not null, base_url text not null, prompt text not null,
    again integer not null, first text not null, second text not null,
    label integer, reason text not null, said text not null, time real not null, checksum text
) without rowid;
create table if not exists claims (key text primary key, owner text not null, until real not null) without rowid;
create table if not exists calls (
    model text not null, base_url text not null, tokens_in integer not null, tokens_out integer not null, cost real,
    time real not null
);
"""
_ANSWER = "key, label, reason, said, checksum"
# Seconds. A claim lives this long after its process gave the last sign of life.
LEASE = 20.0
# Until another process that writes has finished; it writes for milliseconds.
_PATIENCE = 60.0
_AT_ONCE = 500


@dataclass(frozen=True)
class OrderedPair:
    """Two descriptions in the order in which a model is shown them, and what else its answer depends on.

    Attributes:
        kind: Of judge.
        model: Its name.
        base_url: Of the server.
        prompt: Version of the prompt.
        again: Round.
        first: Description that is given first.
        second: The other.
    """

    kind: str
    model: str
    base_url: str
    prompt: str
    again: int
    first: str
    second: str

    @property
    def key(self) -> str:
        """A hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class Origin(NamedTuple):
    """All of an ordered pair but the descriptions: what many have in common; see `OrderedPair`."""

    kind: str
    model: str
    base_url: str
    prompt: str
    again: int


class Store:
    """The file.

    Every method is one transaction, for any thread and process.

    Args:
        folder: Made if there is none.
        lease: Seconds that a claim outlives the last sign of life of its process.

    Raises:
        UserError: If the file cannot be written or is no such file. What is paid for has to be kept.
    """

    def __init__(self, folder: Path, lease: float = LEASE) -> None:
        self.file, self._lease = folder / FILE, lease
        self._owner = uuid.uuid4().hex
        self._alone = Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot keep answers in {folder}: {error.strerror or error}") from error
        # Of processes that open a new file at once, all but one would find it locked, however long they wait.
        with self._errors(), FileLock(self.file.with_suffix(".lock")):
            self._open()

    def find(self, orders: Sequence[OrderedPair]) -> dict[OrderedPair, Reply]:
        """The answers that are there."""
        by_key = {order.key: order for order in orders}
        keys = list(by_key)
        found: dict[OrderedPair, Reply] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            places = ", ".join("?" * len(some))
            with self._transaction("deferred") as database:
                rows = database.execute(f"select {_ANSWER} from answers where key in ({places})", some)
                found |= {by_key[row[0]]: reply for row in rows if (reply := self._reply(*row)) is not None}
        return found

    def holds_any(self, origin: Origin) -> bool:
        """Whether any ordered pair of an origin is answered."""
        same = " and ".join(f"{name} = ?" for name in origin._fields)
        with self._transaction("deferred") as database:
            return database.execute(f"select 1 from answers where {same} limit 1", origin).fetchone() is not None

    def claim(self, order: OrderedPair) -> Reply | Literal["mine", "busy"]:
        """The answer if there is one; else the right to ask for it, unless another process has it."""
        now = time.time()
        with self._transaction() as database:
            row = database.execute(f"select {_ANSWER} from answers where key = ?", [order.key]).fetchone()
            if row is not None and (reply := self._reply(*row)) is not None:
                return reply
            # One that lasts longer than any is of a clock that was set back since.
            other = "select 1 from claims where key = ? and owner != ? and until > ? and until < ?"
            if database.execute(other, [order.key, self._owner, now, now + 2 * max(LEASE, self._lease)]).fetchone():
                return "busy"
            claim = [order.key, self._owner, now + self._lease]
            database.execute("insert or replace into claims values (?, ?, ?)", claim)
        return "mine"

    def release(self, order: OrderedPair) -> None:
        """Give the right to ask back, unanswered."""
        with self._transaction() as database:
            database.execute("delete from claims where key = ? and owner = ?", [order.key, self._owner])

    def keep(self, order: OrderedPair, reply: Reply) -> None:
        """Keep an answer; whoever waits for it finds it."""
        answer = (order.key, reply.label, reply.reason, reply.said)
        values = [order.key, *asdict(order).values(), *answer[1:], time.time(), _checksum(*answer)]
        with self._transaction() as database:
            places = ", ".join("?" * len(values))
            database.execute(f"insert or replace into answers values ({places})", values)
            database.execute("delete from claims where key = ? and owner = ?", [order.key, self._owner])

    def record(self, model: str, base_url: str, usage: Usage, cost: float | None) -> None:
        """Keep what a call took, whether or not its answer could be used."""
        with self._transaction() as database:
            values = [model, base_url, usage.tokens_in, usage.tokens_out, cost, time.time()]
            database.execute("insert into calls values (?, ?, ?, ?, ?, ?)", values)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Give signs of life while the block runs, so that claims last; give claims back after it."""
        over = Event()
        beat = Thread(target=self._beat, args=(over.wait,), name="claims", daemon=True)
        beat.start()
        try:
            yield
        finally:
            over.set()
            beat.join()
            with self._transaction() as database:
                database.execute("delete from claims where owner = ?", [self._owner])

    def _beat(self, over: Callable[[float], bool]) -> None:
        while not over(self._lease / 4):
            # A sign that could not be given is no reason to stop: the next call that matters says what is wrong.
            with suppress(UserError), self._transaction() as database:
                database.execute(
                    "update claims set until = ? where owner = ?", [time.time() + self._lease, self._owner]
                )

    def _open(self) -> None:
        with self._errors():
            self._database = sqlite3.connect(
                self.file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, self._database.close)
            # The write-ahead log lets processes read while one writes; a process that dies loses nothing of it.
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")
        with self._transaction() as database:
            self._prepare(database)

    def _prepare(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("pragma user_version").fetchone()
        if version not in (0, _UNSEALED, _VERSION):
            raise UserError(f"{self.file} is of another version ({version}, not {_VERSION}); move it away")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            database.execute(statement)
        if version == _UNSEALED:
            database.execute("alter table answers add column checksum text")
            rows = database.execute("select key, label, reason, said from answers").fetchall()
            sealed = [(_checksum(*row), row[0]) for row in rows]
            database.executemany("update answers set checksum = ? where key = ?", sealed)
        database.execute(f"pragma user_version = {_VERSION}")

    @contextmanager
    def _transaction(self, kind: str = "immediate") -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it, by one thread and, unless it only reads, one process at a time."""
        with self._alone, self._errors():
            self._database.execute(f"begin {kind}")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise UserError(f"cannot keep answers in {self.file}: {reason or error}") from error

    def _reply(self, key: str, label: int | None, reason: str, said: str, checksum: str | None) -> Reply | None:
        """An answer that was read; none where it is not what was written."""
        if checksum != _checksum(key, label, reason, said):
            log.warning("an answer in %s is damaged, and asked for again", self.file)
            return None
        return Reply(label, reason, refused=label is None, said=said)


def _checksum(*answer: object) -> str:
    return hashlib.sha256(json.dumps(answer).encode()).hexdigest()
