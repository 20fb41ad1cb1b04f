import io
import logging

import pytest
import torch
from rich.console import Console

from sae_match.errors import UserError
from sae_match.matching.settings import MatcherSettings
from sae_match.report.judged.judging import JudgeReport, named, warn_of_obstacles
from sae_match.semantics.judge import Described, JudgeSettings, open_judge
from sae_match.semantics.questions import Path, Question
from sae_match.semantics.settings import StudySettings
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


def test_the_plan_is_what_is_known_beforehand_and_the_questions_follow(tmp_path):
    console = Console(file=io.StringIO(), width=80)
    report = JudgeReport(console, tmp_path, [4, 5, 6], StudySettings(live=False, seed=7), "contexts: a text")
    report.print_plan("a/saes", [4, 5], MatcherSettings(), ["openai m", "token_overlap"])
    assert console.file.getvalue().splitlines() == [
        "Plan",
        "  SAEs     a/saes",
        "  layers   4 to 6; descendants from 4, 5",
        "  matcher  fold threshold, terms W_enc, b_enc, W_dec, mse",
        "  evidence contexts: a text",
        "  judge    openai m, then token_overlap",
    ]
    questions = [Question(arm, 4, 1, 5, 2, 0) for arm in ("matched", "random", "random")]
    report.print_questions([Path(0, (1, 2))], questions, {4: torch.tensor([True, False, True])})
    assert console.file.getvalue().splitlines()[6:] == [
        "Questions",
        "  paths    1 from any features of layer 4, drawn uniformly without replacement, seed 7; 2 could be drawn",
        "  in all   3: 1 matched, 2 random",
    ]
