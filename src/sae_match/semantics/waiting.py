"""How long to wait before a server is asked again."""

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Seconds that a wait of our own choice may grow to, before it is scattered.
_LONGEST = 60.0


def own_wait(first: float, tries: int) -> float:
    """Seconds after so many tries where the server names none: twice as long each time.

    Scattered, so that many who were sent away together do not come back together.

    Args:
        first: Seconds after the first try, on average.
        tries: That have failed.
    """
    return min(_LONGEST, first * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.5)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or a date; none where it says nothing sensible."""
    said = headers.get("retry-after", "").strip()
    try:
        seconds = float(said)
    except ValueError:
        return _until(said)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _until(date: str) -> float | None:
    """Seconds until a date; 0 if it is over."""
    try:
        then = parsedate_to_datetime(date)
        aware = then if then.tzinfo else then.replace(tzinfo=UTC)
        return max(0.0, (aware - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
