import logging

import pytest

from sae_match.errors import UserError
from sae_match.report.judging import named, warn_of_obstacles
from sae_match.semantics.judge import Described, JudgeSettings, open_judge
from tests.semantics.judge.mini_server import MiniServer, same_words


@pytest.fixture
def gone(monkeypatch):
    """A server that is not there any more."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with MiniServer(same_words) as server:
        pass
    return server


def settings_for(server, **options):
    return JudgeSettings("openai", "a-model", base_url=server.url, **options)


def test_an_obstacle_is_a_warning_where_answers_are_kept(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with MiniServer(same_words) as server:
        open_judge(settings_for(server), tmp_path).judge([(Described("red"), Described("green"))])
    judges = named([open_judge(settings, tmp_path) for settings in (JudgeSettings(), settings_for(server))])
    with caplog.at_level(logging.WARNING):
        warn_of_obstacles(judges)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"openai a-model: cannot reach {server.url}")
    assert line.endswith("only if all it asks has been answered before")


def test_the_second_judge_may_be_the_one_that_cannot_say_anything(gone, tmp_path):
    judges = named([open_judge(settings, tmp_path) for settings in (JudgeSettings(), settings_for(gone))])
    with pytest.raises(UserError, match=f"cannot reach {gone.url}"):
        warn_of_obstacles(judges)
