"""What every refusal of a damaged file is: one line, of a length that one reads, that says where."""

from pathlib import Path


def refused(error: Exception, where: Path | str = "") -> str:
    """`refused`, if the error reads as it should."""
    text = str(error)
    assert 0 < len(text) < 1500, text
    assert "\n" not in text, text
    assert str(where) in text, text
    return "refused"
