import pytest

from sae_match.errors import UserError
from sae_match.report.tracking.settings import LoggerSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "tensorboard"}, "logger.kind must be one of wandb, csv, none, got 'tensorboard'"),
        ({"mode": "maybe"}, "logger.mode must be one of auto, online, offline, got 'maybe'"),
    ],
)
def test_what_there_is_not_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        LoggerSettings(**given)
