"""What a server's answer says: a label, a refusal, or neither."""

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from sae_match.addresses import NO_KEY, Key
from sae_match.semantics.judge.server.wording import answer_in, label_of, object_in

# "Label: 3", with or without marks of emphasis, on the last line; no other number may follow on it, and no end of an
# object, which words around it show to be quoted.
_CLOSING = re.compile(r"label[\"'*_`\s]*[:=\uff1a][\"'*_`\s]*([123])\b[^\d\n}]*\s*\Z", re.IGNORECASE)
# Parts of a content that are what a model says, and where servers put what it thinks.
_TEXTS, _THOUGHTS = ("text", "output_text"), ("reasoning_content", "reasoning")
_SHOWN, _REASON = 80, 300
#: Of an answer that reached its bound.
CUT_OFF = "it was cut off, raise judge.max_tokens"
#: Bytes of a body that are read; an answer has at most some thousand tokens.
LONGEST = 2**24
# What no call takes; more cannot be kept either.
_MOST_TOKENS = 10**12


class UnusableError(ValueError):
    """What came back is no answer of a chat at all."""


@dataclass(frozen=True)
class Usage:
    """Tokens that were sent and came back."""

    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Attributes:
        label: 1, 2 or 3, or none.
        reason: Why there is none.
        refused: Whether the model did not want to, so that asking again is of no use.
        said: Its answer, word for word.
    """

    label: int | None
    reason: str = ""
    refused: bool = False
    said: str = field(default="", compare=False)


def read_body(text: str, key: Key = NO_KEY) -> Mapping[str, Any]:
    """The body of an answer.

    Args:
        text: That came back.
        key: That was sent, and must not be kept or shown where a server repeats it.

    Raises:
        UnusableError: If it is no chat completion, as the page of a proxy is none.
    """
    if len(text) > LONGEST:
        raise UnusableError(f"an answer of {len(text):,} characters")
    try:
        body = key.withheld(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"an answer that is not JSON: {_shown(key.withheld(text))}") from error
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
        raise UnusableError(f"an answer that is no chat completion: {_shown(key.withheld(text))}")
    if trouble := _first_choice(body).get("error"):
        raise UnusableError(f"an error in place of an answer: {_shown(reprlib.repr(trouble))}")
    return body


def read_usage(body: Mapping[str, Any]) -> Usage | None:
    """Tokens that the server counted; none where it did not."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return Usage(tokens_in, tokens_out) if _is_count(tokens_in) and _is_count(tokens_out) else None


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MOST_TOKENS


def read_reply(body: Mapping[str, Any]) -> Reply:
    """What the model said."""
    choice = _first_choice(body)
    message = choice.get("message")
    if not isinstance(message, dict):
        return Reply(None, "an empty choice")
    if refusal := message.get("refusal"):
        return Reply(
            None, f"refused: {_shown(refusal if isinstance(refusal, str) else reprlib.repr(refusal))}", refused=True
        )
    if choice.get("finish_reason") == "content_filter":
        return Reply(None, "refused: the server's filter held the answer back", refused=True)
    content = _whole(_text(message.get("content")))
    if not content.strip():
        return _reply_among_thoughts(message) or Reply(None, "an empty answer" + _cut_off(choice))
    label = _label(content, cut_off=bool(_cut_off(choice)))
    if label is None:
        return Reply(None, f"no label in {_shown(content)}" + _cut_off(choice))
    return Reply(label, said=content)


def _first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choice = next(iter(body["choices"]), None)
    return choice if isinstance(choice, dict) else {}


def _text(content: object) -> str:
    """What a model wrote: a text, or the texts among several parts, of which thoughts are none."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") in _TEXTS]
        return "".join(text for part in parts if isinstance(text := part.get("text"), str))
    return content if isinstance(content, str) else ""


def _whole(text: str) -> str:
    """A text that can be kept: half of a pair of surrogates has no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _reply_among_thoughts(message: Mapping[str, Any]) -> Reply | None:
    """The answer of a server that takes all that a model writes for thoughts; none where they are thoughts."""
    for name in _THOUGHTS:
        said = _whole(_text(message.get(name)))
        answer = object_in(said.strip())
        if answer is not None and (label := label_of(answer)) is not None:
            return Reply(label, said=said)
    return None


def _label(content: str, *, cut_off: bool) -> int | None:
    """The label of an answer: of the object that it is, else of its closing line, if it has come to an end."""
    answer = answer_in(content)
    if answer is None:
        return None
    if (found := object_in(answer, torn=not cut_off)) is not None:
        # And no other: a text in it may quote one.
        return label_of(found)
    closing = None if cut_off else _CLOSING.search(answer)
    return int(closing[1]) if closing else None


def reason_in(said: str) -> str:
    """Why a model gave its label, in a line: the reason of an object, else its words without the closing label."""
    answer = answer_in(said) or ""
    if (found := object_in(answer, torn=True)) is None:
        return one_line(_CLOSING.sub("", answer).rstrip("*_`# "), _REASON)
    reason = found.get("reason")
    return one_line(reason, _REASON) if isinstance(reason, str) else ""


def _cut_off(choice: Mapping[str, Any]) -> str:
    return f"; {CUT_OFF}" if choice.get("finish_reason") == "length" else ""


def one_line(text: str, longest: int = _SHOWN) -> str:
    """A text as a message has room for it: on one line, and cut off where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[:longest] + "…"


def _shown(text: str) -> str:
    return repr(one_line(text))
