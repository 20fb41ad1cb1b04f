"""Parts of a report, each on its own feet: what was measured is never lost with a picture of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sae_match.errors import UserError
from sae_match.strings import reason_of

log = logging.getLogger(__name__)


class Attempts:
    """Parts of a report that were tried: one that fails takes no other with it, and is named at the end.

    Attributes:
        failed: What failed, and why, a line each.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Within the block a part is made; whatever goes wrong in it ends the block and nothing else."""
        try:
            yield
        # Whatever it is: hours of measuring must not be lost with a part of their report.
        except Exception as error:
            reason = reason_of(error)
            told = isinstance(error, UserError)
            self.failed.append(f"{part} ({reason if told else f'{type(error).__name__}: {reason}'})")
            log.error("%s failed: %s", part, reason, exc_info=not told)

    def refuse_failed(self, folder: Path) -> None:
        """Say what failed, once all else is there.

        Args:
            folder: Where the others are.

        Raises:
            UserError: If anything failed.
        """
        if self.failed:
            raise UserError(f"of the report failed: {'; '.join(self.failed)}; everything else is in {folder}")
