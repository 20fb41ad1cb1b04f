import json
import time

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


OBJECT = '{"reason": "Both are months.", "label": 3}'


@pytest.mark.parametrize(
    "content",
    [
        f"<think>\nThe first is law. Label: 1\n</think>\n\n{OBJECT}",
        f"[THINK]Label: 1[/THINK]{OBJECT}",
        f"◁think▷Label: 1◁/think▷{OBJECT}",
        f"<|channel|>analysis<|message|>Label: 1<|end|><|start|>assistant<|channel|>final<|message|>{OBJECT}",
        f"\ufeff{OBJECT}",
        f"<think>ok</think>\n```json\n{OBJECT}\n```",
        f"Okay, months, so 1.\n</think>\n\n{OBJECT}",
        "<Thinking>Label: 1</Thinking>Both are months.\nLabel: 3",
        f"Here is the JSON:\n```json\n{OBJECT}\n```",
        f"{OBJECT}<|im_end|>",
        f"{OBJECT}\n<end_of_turn>\n</s>",
        '{"reason": "Both are\nmonths.", "label": 3}',
        '{"reason": "r", "label": 3.0}',
        '{"Reason": "r", "LABEL": 3}',
        f"[{OBJECT}]",
        '{"reason": "The second says <think>.", "label": 3}',
        '{"reason": "It ends in ```", "label": 3}',
        '```json\n{"reason": "It has ``` in it", "label": 3}\n```',
        [{"type": "text", "text": OBJECT}],
        [
            {"type": "thinking", "text": "Label: 1"},
            {"type": "text", "text": "Months.\n"},
            {"type": "text", "text": "Label: 3"},
        ],
    ],
)
def test_what_stands_around_an_answer_does_not_hide_its_label(content):
    assert read(content) == Reply(3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"reason": "Both are months.", "label": 3', "Both are months."),
        ('{"label": 3, "reason": "Both are mon', "Both are mon"),
        ('{"label": 3, "reason": "Both", "more":', "Both"),
        ('[{"reason": "Both are months.", "label": 3}', "Both are months."),
        ('```json\n{"reason": "Both are months.", "label": 3}', "Both are months."),
        ('Here it is:\n```json\n{"reason": "Both are months.", "label": 3', "Both are months."),
        ('{"reason": "Both are months.", "label": 3,}', "Both are months."),
        ('[{"reason": "Both are months.", "label": 3,},]', "Both are months."),
        ("{'reason': 'Both are months.', 'label': 3}", "Both are months."),
        ("{'reason': 'They\\'re months, aren't they?', 'label': '3'}", "They're months, aren't they?"),
        ("{reason: 'Both are months.', label: 3}", "Both are months."),
        ('{"reason": "One says "May", one "June".", "label": 3}', 'One says "May", one "June".'),
        ('{"reason": "Both \\"x\\" and \\\\", "label": 3,}', 'Both "x" and \\'),
        ('{"reason": "Both are months.", "label": 3}}', "Both are months."),
        ('{"judgement": {"reason": "Both are months.", "label": 3}}', "Both are months."),
        ('{"name": "judgement", "arguments": {"reason": "Both are months.", "label": 3}}', "Both are months."),
        ('{"judgements": [{"reason": "Both are months.", "label": 3}]}', "Both are months."),
        ('{"Judgement": {"Reason": "Both are months.", "Label": "3",},}', "Both are months."),
    ],
)
def test_an_object_that_is_nearly_one_has_its_label_and_its_reason(content, reason):
    assert (read(content), reason_in(content)) == (Reply(3), reason)


@pytest.mark.parametrize(
    "content",
    [
        '{"reason": "The second one says Label: 3',
        '{"reason": "The second one says {"label": 3}',
        '{"reason": "The second one ends in ", "label": 3, "label": 1}',
        '{"reason": "r", "label": 31',
        '{"reason": "r", "label": 3 or 2}',
        '{"reason": "r", "label": 3,} {"label": 1}',
        '{"reason": "r", "label": 3,} is what the second one says',
        '{"first": {"reason": "r", "label": 3}, "second": {"reason": "r", "label": 3}}',
        '{"first": {"label": 3}}',
        '{"label": {"reason": "r", "label": 3}}',
        "{'label': 3, 'Label': 1}",
        '{"reason": "r", "label":',
        "{" * 5000,
        '{"a": ' * 5000,
        '{"a": "' + '\\" ' * 15000,
    ],
)
def test_what_is_nearly_an_object_has_no_label_that_it_does_not_say(content):
    assert read(content).label is None


def test_an_object_that_was_cut_off_may_go_on():
    torn = ('{"reason": "r", "label": 3', '{"label": 3, "reason": "r')
    assert [read(content, finish_reason="length").label for content in torn] == [None, None]
    assert read('{"reason": "r", "label": 3,}', finish_reason="length").label == 3


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_an_object_among_thoughts_is_the_answer_where_there_is_no_other(name):
    assert read_reply(completion({"content": None, name: OBJECT})) == Reply(3)
    assert read_reply(completion({"content": "Label: 1", name: OBJECT})) == Reply(1)


@pytest.mark.parametrize("thought", ["Both are months.\nLabel: 3", f"Perhaps {OBJECT}", 3, None, ["Label: 3"]])
def test_a_thought_is_no_answer(thought):
    assert read_reply(completion({"content": None, "reasoning_content": thought})).label is None


@pytest.mark.parametrize(
    "content",
    [
        "<think>\nBoth are months.\nLabel: 3",
        "<think kind='long'>\nLabel: 3",
        "[THINK]Both are months.\nLabel: 3",
        "◁think▷\nLabel: 3",
        "<|channel|>analysis<|message|>Label: 3",
        f"<think>{OBJECT}",
        f"<think>\n```json\n{OBJECT}\n```",
        f"<think>a</think>\nLabel: 1\n<think>{OBJECT}",
        "<THINK>Label: 3<|im_end|>",
    ],
)
def test_an_answer_that_ends_within_a_thought_has_no_label(content):
    assert read(content).label is None
    assert read(content, finish_reason="length").reason.endswith("raise judge.max_tokens")


def test_a_closing_line_that_was_cut_off_may_not_be_one():
    assert read("Label: 1", finish_reason="length").label is None
    assert read(OBJECT, finish_reason="length").label == 3


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
        "Both are about months, so they are the same: 3",
        '{"label": 3.5}',
        '{"label": 1, "label": 3}',
        '{"label": 1, "Label": 3}',
        '[{"label": 1}, {"label": 3}]',
        '[[{"label": 3}]]',
        'The second one ends so:\n```json\n{"label": 3}\n```',
        'The second one: ```json\n{"reason": "r", "label": 3}\n```',
        f'{{"label": "{"3" * 5000}"}}',
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


def test_a_reason_has_no_thoughts_in_it():
    assert reason_in(f"<think>Perhaps law.</think>\n{OBJECT}<|im_end|>") == "Both are months."
    assert reason_in("<think>Perhaps law.</think>Both are months.\nLabel: 3") == "Both are months."


@pytest.mark.parametrize(
    "part",
    [" ", "\n", "</s>", "<think>", "</think>", "```", "\n```\n", "label", "label:", "[", '{"a":', '"', "' ", "', '"],
)
def test_an_endless_answer_is_read_at_once(part):
    start = time.process_time()
    read(part * 100_000)
    read("{'reason': '" + part * (60_000 // len(part)))
    # Of this process alone; what grows with the square of the length takes minutes.
    assert time.process_time() - start < 10


@pytest.mark.parametrize("error", [{"code": 502, "message": "overloaded"}, "overloaded"])
def test_an_error_in_place_of_an_answer_is_unusable(error):
    body = {"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": error}]}
    with pytest.raises(UnusableError, match="overloaded"):
        read_body(json.dumps(body))


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
