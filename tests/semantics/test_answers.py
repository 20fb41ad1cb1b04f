import io
import logging

import pytest
from rich.console import Console

from sae_match.errors import UserError
from sae_match.semantics.answers import asked, named, warn_of_obstacles
from sae_match.semantics.judge import Described, JudgeSettings, open_judge
from sae_match.semantics.questions import Question
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


class Words:
    """Evidence in which features of even number are red, the others green."""

    def fetch(self, questions, watch):
        pass

    def known(self, _):
        return [True] * 4

    def of(self, _, feature):
        return Described(("red", "green")[feature % 2], ((("red", "green")[feature % 2], 1.0),))


def test_every_question_gets_the_answer_to_what_was_shown(tmp_path):
    console = Console(file=io.StringIO(), width=80)
    questions = [Question("matched", 3, 0, 4, 2, 0), Question("matched", 3, 0, 4, 1, 0)]
    answers = asked(open_judge(JudgeSettings(), tmp_path), questions, Words(), console, None)
    assert [answer.question for answer in answers] == questions
    assert [(answer.source.text, answer.target.text) for answer in answers] == [("red", "red"), ("red", "green")]
    assert [answer.verdict.label for answer in answers] == [3, 1]
    # A judge that calls nobody has nothing to estimate and no account.
    assert console.file.getvalue() == ""


def test_calls_are_estimated_before_and_counted_after(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    console = Console(file=io.StringIO(), width=80)
    with MiniServer(same_words) as server:
        judge = open_judge(settings_for(server), tmp_path)
        asked(judge, [Question("matched", 3, 0, 4, 1, 0)], Words(), console, None)
    estimate, account = console.file.getvalue().splitlines()
    assert estimate.startswith("  openai a-model: 2 calls (0 answered before), about")
    assert account.startswith("  openai a-model: 2 calls tried, 0 answered before; ")


def test_judges_of_one_name_are_numbered(tmp_path):
    judges = [open_judge(JudgeSettings(), tmp_path) for _ in range(2)]
    assert list(named(judges)) == ["token_overlap", "token_overlap (2)"]
