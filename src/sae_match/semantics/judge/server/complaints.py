"""Trouble that passes, told now and then, however many calls meet it at the same time."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

log = logging.getLogger(__name__)

# Seconds until trouble of a kind is told again.
EVERY = 30.0


class Complaints:
    """Logs one line for each kind of failure at a time; any number of threads may complain."""

    def __init__(self) -> None:
        self._alone = Lock()
        self._told: dict[str, float] = {}
        self._failed: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def waiting(self, kind: str, what: str, *, mild: bool) -> Iterator[None]:
        """Count a failed call, which waits for its next try while the block runs, and tell of it if it is time to.

        Args:
            kind: Failures of one kind share their lines.
            what: What happened and what comes next.
            mild: Whether it is too common to be told by itself; it counts all the same.
        """
        with self._alone:
            self._failed[kind] += 1
            self._waiting[kind] += 1
            line = None if mild else self._line(kind, what)
        if line is not None:
            log.info("%s", line)
        try:
            yield
        finally:
            with self._alone:
                self._waiting[kind] -= 1

    def _line(self, kind: str, what: str) -> str | None:
        """What is told; none where the kind was told of a moment ago."""
        now, before = time.monotonic(), self._told.get(kind)
        if before is not None and now - before < EVERY:
            return None
        self._told[kind] = now
        failed, waiting = self._failed[kind], self._waiting[kind]
        return what if failed == 1 else f"{what} ({failed:,} calls have failed so, {waiting:,} of them wait)"
