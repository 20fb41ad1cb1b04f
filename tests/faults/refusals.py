"""What every refusal of a damaged file is: one line, of a length that one reads, that says where."""

from contextlib import contextmanager
from pathlib import Path


def refused(error: Exception, where: Path | str = "") -> str:
    """`refused`, if the error reads as it should."""
    text = str(error)
    assert 0 < len(text) < 1500, text
    assert "\n" not in text, text
    assert str(where) in text, text
    return "refused"


@contextmanager
def naming(number, name, allowed):
    """Whatever but a refusal ends the block is the fault that is looked for, and is named by its mutation."""
    try:
        yield
    # Any exception at all: which kinds there may be is what is asked.
    except Exception as error:
        error.add_note(f"mutation {number} of {name}, which may be {allowed}")
        raise


def tell(capsys, name, mutations, counts):
    """Print what came of the mutations, also where tests are silent."""
    with capsys.disabled():
        print(f"\n{name}: {mutations} mutations, {dict(sorted(counts.items()))}")
