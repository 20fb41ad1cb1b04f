"""A limit of requests an hour that all processes of a user keep together."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.semantics.settings import refuse_impossible_pace

_HOUR = 3600.0
# Of an hour's requests, the share that may be made at once.
_BURST = 0.1


class Pace:
    """Lets requests pass at a limited rate: a tenth of an hour's at once, the others evenly.

    In no hour more than eleven tenths of the limit pass (generic cell rate algorithm). When the next one
    may pass is kept in a file, so that several processes, and runs one after another, share the limit.

    Args:
        file: Where that is kept; a lock lies beside it.
        per_hour: Requests an hour.

    Raises:
        UserError: If the limit is not positive.
    """

    def __init__(self, file: Path, per_hour: float) -> None:
        refuse_impossible_pace(per_hour)
        self.file, self._step, self._ahead = file, _HOUR / per_hour, _BURST * _HOUR

    def wait(self) -> None:
        """Return when the next request may be made.

        Raises:
            UserError: If that cannot be kept.
        """
        time.sleep(self._claim())

    def _claim(self) -> float:
        """Seconds until the next request may be made, which then is this one's turn."""
        with self._locked():
            now = time.time()
            # Requests made so far are paid for until then; not before now, nor absurdly late if a clock was changed.
            paid = min(max(self._paid(), now), now + _HOUR)
            with written_whole(self.file) as temporary:
                temporary.write_text(repr(paid + self._step))
            return max(0.0, paid + self._step - now - max(self._ahead, self._step))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.file.with_suffix(".lock"))
            lock.acquire()
        except OSError as error:
            raise UserError(
                f"cannot write {self.file}: {error.strerror or error}; set descriptions.cache_dir"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _paid(self) -> float:
        try:
            return float(self.file.read_text())
        except (OSError, ValueError):
            return 0.0
