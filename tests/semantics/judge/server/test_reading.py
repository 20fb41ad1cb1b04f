import json

import pytest

from sae_match.semantics.judge.server.reading import (
    Reply,
    UnusableError,
    Usage,
    read_body,
    read_reply,
    read_usage,
    reason_in,
)
from tests.semantics.judge.mini_server import completion


def read(content, **options):
    return read_reply(completion({"content": content}, **options))


@pytest.mark.parametrize(
    ("content", "label"),
    [
        ('{"reason": "Both are fruit.", "label": 3}', 3),
        ('{"label": "2"}', 2),
        ('```json\n{"reason": "r {x}", "label": 1}\n```', 1),
        ("They share a field.\nLabel: 2", 2),
        ("**Label:** 3\n", 3),
        ("label = 1.", 1),
        ("Label: 2 (partly)", 2),
        ("Label: 1 at first sight, but then\nLabel: 3", 3),
        ("\N{FULLWIDTH COLON} 意味は同じ。\nLabel\N{FULLWIDTH COLON} 3", 3),
        ('I answer {not json}.\n"Label": 2', 2),
        ('```\n{"reason": "r",\n"label": 2}```\n', 2),
        ('{"label": 1, "reason": "One of them says Label: 3"}', 1),
        ('{"label": 1, "reason": "One of them says {\\"label\\": 3}"}', 1),
        ('The first one reads {"label": 3}, which is data to be compared.\nLabel: 1', 1),
        ('One of them is {"reason":"same","label":3} and the other about law.\n**Label: 1**', 1),
        ('```json\n{"label": 3}\n```\nis what the second one says.\nLabel: 1', 1),
    ],
)
def test_a_label_is_read(content, label):
    assert read(content) == Reply(label)


@pytest.mark.parametrize(
    "content",
    [
        "They are the same.",
        "Label: 4",
        "Label: 10",
        "Label: 2.5",
        "Label: 1, 2 or 3",
        "Label: 1|2|3",
        "Label: 3\nOr so I would say if I had to.",
        '{"label": 0}',
        '{"label": true}',
        '{"label": [3]}',
        '{"label": 0, "reason": "Label: 3"}',
        'Quoted: {"label": 3}. I cannot tell.',
        'One of them ends with {"label": 3}',
        '{"label": 1} {"label": 3}',
        "3",
        "",
        "   ",
    ],
)
def test_what_is_no_label_is_none(content):
    reply = read(content)
    assert (reply.label, reply.refused) == (None, False)
    assert reply.reason


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": [None]}, {"choices": [{"message": None}]}])
def test_an_empty_choice_is_said(body):
    assert read_reply(body) == Reply(None, "an empty choice")


def test_an_answer_that_was_cut_off_says_so():
    assert "judge.max_tokens" in read("They are", finish_reason="length").reason


def test_a_refusal_is_one():
    by_model = read_reply(completion({"content": None, "refusal": "I will not."}))
    by_filter = read("", finish_reason="content_filter")
    assert by_model == Reply(None, "refused: 'I will not.'", refused=True)
    assert by_filter.refused


@pytest.mark.parametrize("text", ["<html>Gateway</html>", "", "[]", "{}", '{"choices": null}'])
def test_what_is_no_chat_completion_is_unusable(text):
    with pytest.raises(UnusableError):
        read_body(text)


def test_tokens_are_as_counted_by_the_server_if_it_does():
    assert read_usage(completion({})) == Usage(400, 20)
    for usage in (None, {}, {"prompt_tokens": None, "completion_tokens": 3}, {"prompt_tokens": -1}):
        assert read_usage(completion({}, usage=usage)) is None
    assert read_usage(read_body(json.dumps({"choices": []}))) is None


def test_a_reason_is_told_in_a_line():
    assert reason_in('{"reason": "Both are\\nfruit.", "label": 3}') == "Both are fruit."
    assert reason_in('{"label": 3}') == ""
    assert reason_in("Both are fruit.\n**Label: 3**") == "Both are fruit."
    assert reason_in("Label: 3") == ""
    assert len(reason_in("word " * 500)) <= 301


def test_half_a_pair_of_surrogates_is_replaced():
    reply = read_reply({"choices": [{"message": {"content": "so \ud83d it is\nLabel: 3"}}]})
    assert (reply.label, reply.said) == (3, "so ? it is\nLabel: 3")


def test_what_is_nested_beyond_reason_is_no_answer():
    with pytest.raises(UnusableError):
        read_body("[" * 100_000)
    assert read_reply({"choices": [{"message": {"content": "[" * 100_000}}]}).label is None


@pytest.mark.parametrize("count", [True, 10**30, -1, "3", None])
def test_what_is_no_count_of_tokens_is_unknown(count):
    assert read_usage({"usage": {"prompt_tokens": 3, "completion_tokens": count}}) is None
