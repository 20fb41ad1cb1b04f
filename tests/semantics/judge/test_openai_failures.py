import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sae_match.errors import UserError
from sae_match.semantics.judge import Described, JudgeSettings, open_judge
from tests.semantics.judge.conftest import PAIRS, made_up, settings_for, spent_in_all
from tests.semantics.judge.mini_server import completion, descriptions, labelled, refused, said, same_words

ONE = [(Described("a"), Described("a"))]


def failing(times, answer):
    """Answers so for some calls and properly afterwards."""
    return lambda request, number: answer if number < times else same_words(request, number)


def test_without_a_key_openai_is_not_asked(tmp_path):
    with pytest.raises(UserError, match=r"no key in OPENAI_API_KEY.*judge.base_url"):
        open_judge(JudgeSettings("openai", "gpt-4o-mini"), tmp_path).judge(ONE)


def test_a_key_that_a_server_does_not_take_is_named_by_its_variable(serve, ask, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sk-not-taken")
    with pytest.raises(UserError, match=r"\(401\): OTHER_KEY holds a key that it does not take") as caught:
        ask(serve(lambda *_: refused(401, "bad key")), key_variable="OTHER_KEY").judge(ONE)
    assert "sk-not" not in str(caught.value)


@pytest.mark.parametrize("words", ["{key}", "no model for {key}", "x" * 190 + "{key}"])
@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_server_that_repeats_the_key_does_not_get_it_into_a_message(serve, ask, monkeypatch, status, words):
    monkeypatch.setenv("OTHER_KEY", key := "sk-very-secret")
    server = serve(lambda *_: refused(status, words.format(key=key)))
    with pytest.raises(UserError) as caught:
        ask(server, retries=0, key_variable="OTHER_KEY").judge(ONE)
    assert server.keys[0] == f"Bearer {key}"
    assert "sk-very" not in str(caught.value)


def test_what_a_model_says_is_kept_without_the_key(serve, ask, monkeypatch, tmp_path):
    """Also where JSON writes it in another way."""
    monkeypatch.setenv("OTHER_KEY", "sk-very-secret")
    escaped = said('{"reason": "@", "label": 3}')[2].replace(b"@", b"\\u0073k-very-secret")
    server = serve(lambda *_: (200, {}, escaped))
    (verdict,) = ask(server, key_variable="OTHER_KEY").judge(ONE)
    assert (verdict.labels, verdict.reason) == ((3, 3), "[key]")
    assert b"sk-very-secret" not in b"".join(file.read_bytes() for file in (tmp_path / "judge").iterdir())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused(401, "bad key"), r"does not let you use a-model \(401\): name .* in judge.key_variable"),
        (refused(403, "not yours"), r"\(403\).*judge.key_variable"),
        (refused(404, "no such model"), r"has no chat model a-model \(404\).*judge.model"),
        (refused(429, "pay first", code="insufficient_quota"), r"no credit left \(429\)"),
        (refused(402, "pay first"), "no credit left"),
        (refused(429, "slow down", {"Retry-After": "4000"}), "asks to wait 4000 s"),
    ],
)
def test_what_no_retry_can_mend_is_said_after_one_call(serve, ask, answer, words):
    server = serve(lambda *_: answer)
    with pytest.raises(UserError, match=words) as caught:
        ask(server, concurrency=1).judge(PAIRS)
    assert len(server.requests) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        refused(500),
        refused(503, headers={"Retry-After": "soon"}),
        refused(429),
        refused(408),
        (200, {}, b"<html>Gateway</html>"),
        (200, {"Content-Type": "text/html"}, b"<html>Gateway</html>"),
        (200, {}, b'{"detail": "warming up"}'),
        (502, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>"),
    ],
)
def test_what_passes_is_tried_again(serve, ask, answer):
    server = serve(failing(2, answer))
    (verdict,) = ask(server).judge(ONE)
    assert verdict.labels == (3, 3)
    assert len(server.requests) == 3


def test_a_server_says_how_long_to_wait(serve, ask):
    server = serve(failing(1, refused(429, headers={"Retry-After": "0.6"})))
    start = time.monotonic()
    ask(server).judge(ONE)
    assert 0.6 <= time.monotonic() - start < 20


def test_a_server_may_say_it_as_a_date(serve, ask):
    date = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    with pytest.raises(UserError, match=r"asks to wait 7\d\d\d s"):
        ask(serve(failing(1, refused(503, headers={"Retry-After": date})))).judge(ONE)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused(500, "out of order"), r"answered 500: .*out of order.* \(4 times\).*kept"),
        (refused(429, "slow down"), r"answered 429.*\(4 times\)"),
        ((200, {}, b"<html>Gateway</html>"), r"not JSON: '<html>Gateway.*\(4 times\)"),
        (refused(400, "I take no chats"), "answered 400: .*I take no chats"),
        (refused(418, "a teapot"), "answered 418"),
    ],
)
def test_a_server_that_never_answers_a_question_ends_the_run(serve, ask, answer, words):
    with pytest.raises(UserError, match=words) as caught:
        ask(serve(lambda *_: answer), concurrency=1).judge(PAIRS)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_ends_the_run(serve, tmp_path):
    server = serve()
    server.__exit__()
    with pytest.raises(UserError, match=rf"cannot reach {server.url}.*kept"):
        open_judge(settings_for(server, retries=1), tmp_path).judge(ONE)


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "ftp://a/v1", "http://[::1", "http://a:port"])
def test_an_address_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(UserError, match="base_url"):
        open_judge(JudgeSettings("openai", "m", base_url=url), tmp_path).judge(ONE)


@pytest.mark.parametrize("key", ["ключ", "two\nlines"])
def test_a_key_that_is_none_is_refused_and_not_shown(tmp_path, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        open_judge(JudgeSettings("openai", "gpt-4o-mini"), tmp_path).judge(ONE)
    assert key not in str(caught.value)


def test_a_server_that_says_nothing_is_given_up_and_counted_as_paid(serve, ask):
    server = serve(failing(1, (200, {}, None)))
    judge = ask(server, timeout=1.0, price_in=0.0, price_out=1.0, max_tokens=50)
    (verdict,) = judge.judge(ONE)
    assert verdict.labels == (3, 3)
    assert (judge.account.calls, judge.account.tokens_out) == (2, 50 + 20)
    silent = serve(lambda *_: (200, {}, None))
    with pytest.raises(UserError, match=r"did not answer in time \(judge.timeout\) \(2 times\)"):
        ask(silent, timeout=0.2, retries=1).judge(ONE)


@pytest.mark.parametrize("trouble", [refused(500, "a bug"), refused(400, "what is this?"), (200, {}, None)])
def test_one_question_that_a_server_cannot_answer_does_not_end_the_run(serve, ask, trouble):
    def answers(request, number):
        return trouble if descriptions(request)[0] == "green apples" else same_words(request, number)

    server = serve(answers)
    options = {"concurrency": 1, "retries": 1, "timeout": 1.0}
    verdicts = ask(server, **options).judge(PAIRS)
    assert [verdict.labels for verdict in verdicts] == [(3, 3), (), (1, 1)]
    assert server.url in verdicts[1].reason
    calls = len(server.requests)
    # It is asked again, and nothing else is.
    server.answers = same_words
    assert [verdict.labels for verdict in ask(server, **options).judge(PAIRS)] == [(3, 3), (2, 2), (1, 1)]
    assert len(server.requests) == calls + 1


@pytest.mark.parametrize("trouble", [refused(400, "blocked by policy"), refused(500, "a bug")])
def test_a_first_question_that_a_server_cannot_answer_does_not_end_the_run(serve, ask, trouble):
    def answers(request, number):
        return trouble if descriptions(request)[0] == "thing 0" else same_words(request, number)

    verdicts = ask(serve(answers), concurrency=1, retries=0).judge(made_up(10))
    assert [verdict.labels for verdict in verdicts] == [(), *[(2, 2)] * 9]


def test_a_description_that_a_server_will_not_read_does_not_end_the_run(serve, ask):
    """In a study, several questions in a row are about one feature."""

    def answers(request, number):
        return refused(400, "blocked") if "this" in descriptions(request) else same_words(request, number)

    pairs = [(Described("this"), Described(f"other {index}")) for index in range(4)]
    verdicts = ask(serve(answers), concurrency=1).judge([*pairs, *made_up(3)])
    assert [verdict.labels for verdict in verdicts] == [*[()] * 4, *[(2, 2)] * 3]


def test_many_refusals_in_a_row_end_the_run(serve, ask):
    server = serve(lambda *_: refused(418, "a teapot"))
    with pytest.raises(UserError, match=r"answered 418: .*a teapot.*kept"):
        ask(server, concurrency=1).judge(made_up(50))
    assert len(server.requests) in range(20, 22)


def test_several_questions_in_a_row_that_fail_end_the_run(serve, ask):
    server = serve(lambda request, number: same_words(request) if number < 10 else refused(500))
    with pytest.raises(UserError, match="answered 500"):
        ask(server, concurrency=1, retries=0).judge(made_up(20))
    # One more may be under way.
    assert len(server.requests) in (13, 14)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said("They are rather similar."), "no label in 'They are rather similar.'"),
        (said(""), "an empty answer"),
        ((200, {}, b'{"choices": []}'), "an empty choice"),
        (said("They", finish_reason="length"), "judge.max_tokens"),
    ],
)
def test_an_answer_without_a_label_is_asked_again_then_told_and_not_kept(serve, ask, answer, reason):
    server = serve(failing(3, answer))
    (verdict,) = ask(server).judge(ONE)
    assert verdict.labels == ()
    assert reason in verdict.reason
    assert [request["seed"] for request in server.requests] == [0, 1, 2]
    assert ask(server).judge(ONE)[0].labels == (3, 3)


def test_one_bad_answer_is_enough_for_another_try(serve, ask, tmp_path):
    judge = ask(serve(failing(1, said("Hm."))), price_in=1.0, price_out=1.0)
    assert judge.judge(ONE)[0].labels == (3, 3)
    assert judge.account.calls == 2
    assert spent_in_all(tmp_path / "judge") == pytest.approx(2 * 420 / 1e6)


def test_a_model_that_gives_no_labels_ends_the_run(serve, ask):
    server = serve(lambda *_: said("As a language model I like both."))
    with pytest.raises(UserError, match=r"20 answers in a row have no label.*I like both.*judge.model"):
        ask(server, concurrency=1).judge(made_up(50))
    assert len(server.requests) in range(60, 64)


def test_a_pair_has_labels_only_if_both_orders_have_one(serve, ask):
    server = serve(lambda request, _: labelled(3) if descriptions(request)[0] == "a" else said("?"))
    (verdict,) = ask(server).judge([(Described("a"), Described("b"))])
    assert verdict.labels == ()
    assert "no label" in verdict.reason


@pytest.mark.parametrize(
    "refusal",
    [
        (200, {}, json.dumps(completion({"content": None, "refusal": "I will not."})).encode()),
        said("", finish_reason="content_filter"),
        refused(400, "filtered", code="content_filter"),
    ],
)
def test_a_refusal_is_kept(serve, ask, refusal):
    server = serve(lambda *_: refusal)
    for _ in range(2):
        (verdict,) = ask(server).judge(ONE)
        assert verdict.labels == ()
        assert verdict.reason.startswith("refused")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"concurrency": 0}, "judge.concurrency"),
        ({"max_tokens": 0}, "judge.max_tokens"),
        ({"retries": -1}, "judge.retries"),
        ({"again": -1}, "judge.again"),
        ({"backoff": -1.0}, "judge.backoff"),
        ({"timeout": 0.0}, "judge.timeout"),
        ({"limit": 1.0}, "judge.price_in"),
        ({"price_in": 1.0}, "judge.price_out"),
        ({"model": None}, "judge.model"),
        ({"prompt": "/no/such/file"}, "/no/such/file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(tmp_path, wrong, words):
    with pytest.raises(UserError, match=words):
        open_judge(JudgeSettings(**{"kind": "openai", "model": "m", "base_url": "http://x", **wrong}), tmp_path)


def unless_structured(trouble):
    """A server that does without a schema what it cannot do with one."""
    return lambda request, _: trouble if "response_format" in request else said("Both are fruit.\nLabel: 3")


@pytest.mark.parametrize(
    "trouble",
    [
        said("They are the same: 3"),
        said(""),
        said('{"label": "same"}'),
        refused(500, "failed to parse grammar"),
        refused(404, "No endpoints found that support the requested parameters: response_format"),
    ],
)
def test_after_an_answer_to_a_schema_without_a_label_one_without_a_schema_is_asked_for(serve, ask, trouble):
    server = serve(unless_structured(trouble))
    verdicts = ask(server, concurrency=1).judge(PAIRS)
    assert [verdict.labels for verdict in verdicts] == [(3, 3)] * len(PAIRS)
    # Of one ordered pair that is known, and is asked for nobody else.
    assert len(server.requests) == 5 + 1


def test_a_server_that_says_of_a_schema_only_that_it_failed_is_asked_without_it(serve, ask):
    server = serve(unless_structured(refused(500, "internal error")))
    assert ask(server, concurrency=1).judge(ONE)[0].labels == (3, 3)
    assert ["response_format" in request for request in server.requests] == [True, True, False]


def test_a_schema_that_was_followed_once_stays(serve, ask):
    """One answer that says nothing is no reason to ask for all others in another way."""
    numbers = []

    def answers(request, number):
        numbers.append("response_format" in request)
        return said("I cannot say.") if number == 2 else same_words(request) if numbers[-1] else said("Label: 2")

    ask(serve(answers), concurrency=1).judge(PAIRS)
    assert numbers == [True, True, True, False, True, True]


def test_a_bound_that_is_too_low_is_the_remedy_and_no_other_model(serve, ask):
    server = serve(lambda *_: said("<think>So it", finish_reason="length"))
    with pytest.raises(UserError, match=r"20 answers in a row have no label.*raise judge.max_tokens; all") as caught:
        ask(server).judge(made_up(30))
    assert "another judge.model" not in str(caught.value)
