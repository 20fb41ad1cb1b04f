import pytest

from sae_match.errors import UserError
from sae_match.report.attempts import Attempts


def test_what_fails_takes_nothing_with_it_and_is_named_at_the_end(tmp_path):
    attempts, made = Attempts(), []
    for part, error in (("one", None), ("two", UserError("disk full")), ("three", KeyError()), ("four", None)):
        with attempts.of(part):
            if error is not None:
                raise error
            made.append(part)
    assert made == ["one", "four"]
    with pytest.raises(UserError, match=r"failed: two \(disk full\); three \(KeyError: KeyError\); everything else is"):
        attempts.refuse_failed(tmp_path)


def test_nothing_is_said_where_nothing_failed(tmp_path):
    attempts = Attempts()
    with attempts.of("one"):
        pass
    attempts.refuse_failed(tmp_path)


def test_who_interrupts_is_heard():
    with pytest.raises(KeyboardInterrupt), Attempts().of("one"):
        raise KeyboardInterrupt
