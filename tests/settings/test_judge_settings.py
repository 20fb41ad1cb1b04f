from dataclasses import replace

import pytest

from sae_match.errors import UserError
from sae_match.settings.entry import typed
from sae_match.settings.judge import JudgeStudySettings
from tests.settings.composing import composed


def settings(*overrides):
    return typed(composed("judge", *overrides), JudgeStudySettings)


@pytest.fixture(autouse=True)
def _nobody_elses_server(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.mark.parametrize(
    "second",
    [
        "limit=5",
        "concurrency=1",
        "retries=0",
        "price_in=1",
        "max_tokens=64",
        "cache=elsewhere",
        "key_variable=OTHER_KEY",
        "base_url=https://api.openai.com/v1/",
        "prompt=SAME",
    ],
)
def test_the_second_judge_is_not_the_first_with_another_setting(second, tmp_path):
    told = ["judge=openai", "judge@second=openai"]
    if second == "prompt=SAME":
        for name in ("one", "two"):
            (tmp_path / name).write_text("1, 2 or 3: {first} or {second}?")
        told += [f"judge.prompt={tmp_path}/one", f"second.prompt={tmp_path}/two"]
    else:
        told.append(f"second.{second}")
    with pytest.raises(UserError, match=r"^judge and second are the same judge.*second\.again=1"):
        settings(*told)


@pytest.mark.parametrize("second", ["again=1", "model=another", "base_url=http://localhost/v1"])
def test_the_second_judge_is_another_where_its_answers_are(second):
    judges = settings("judge=openai", "judge@second=openai", f"second.{second}").judges()
    assert [judge.kind for judge in judges] == ["openai", "openai"]


def test_the_second_judge_is_another_with_another_prompt(tmp_path):
    (tmp_path / "prompt").write_text("1, 2 or 3: {first} or {second}?")
    assert len(settings("judge=openai", "judge@second=openai", f"second.prompt={tmp_path}/prompt").judges()) == 2


def test_judges_without_a_server_differ_by_what_they_measure():
    same = ["judge@second=token_overlap", "second.again=1", "second.batch_size=2"]
    for told in (same, [*same, "second.cuts=[0.1,0.4]"]):
        with pytest.raises(UserError, match=r"would say the same$"):
            settings(*told)
    assert len(settings(*same, "second.cuts=[0.2,0.5]").judges()) == 2
    encoders = ["judge=embedding", "judge.model=a", "judge@second=embedding", "judge.cuts=[0.1,0.2]"]
    assert len(settings(*encoders, "second.model=b", "second.cuts=[0.1,0.2]").judges()) == 2
    with pytest.raises(UserError, match=r"would say the same$"):
        settings(*encoders, "second.model=a", "second.cuts=[0.1,0.2]", "second.device=cuda")


def test_there_may_be_no_second_judge():
    assert [judge.kind for judge in settings().judges()] == ["token_overlap"]


@pytest.mark.parametrize("second", ["judge@second=none", "judge@second=openai"])
@pytest.mark.parametrize("published", [True, False])
def test_judges_are_shown_what_there_is(second, published):
    told = settings("judge=openai", second, "second.again=1")
    assert told.shows_contexts(published) is not published
    assert replace(told, evidence="contexts").shows_contexts(published)
    assert not replace(told, evidence="descriptions").shows_contexts(True)


@pytest.mark.parametrize("judges", [("judge=token_overlap",), ("judge=openai", "judge@second=token_overlap")])
def test_a_judge_of_tokens_is_shown_contexts_whatever_is_published(judges):
    told = settings(*judges)
    assert told.shows_contexts(published=True)
    with pytest.raises(UserError, match=r"evidence=descriptions: token_overlap looks at .*; set evidence=contexts"):
        replace(told, evidence="descriptions").shows_contexts(published=True)


def test_evidence_that_is_not_there_is_refused():
    told = settings()
    with pytest.raises(UserError, match="no descriptions are known of"):
        replace(told, evidence="descriptions").shows_contexts(published=False)
    with pytest.raises(UserError, match="evidence must be auto, descriptions or contexts, got 'nonsense'"):
        replace(told, evidence="nonsense")


def test_the_first_judge_must_be_somebody():
    with pytest.raises(UserError, match=r"judge\.kind must be one of token_overlap, embedding, openai, got 'none'"):
        settings("judge=none")
