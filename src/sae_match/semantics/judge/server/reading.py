"""What a server's answer says: a label, a refusal, or neither."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from sae_match.addresses import NO_KEY, Key
from sae_match.semantics.judge.verdicts import LABELS

# "Label: 3", with or without marks of emphasis, on the last line; no other number may follow on it, and no end of an
# object, which words around it show to be quoted.
_CLOSING = re.compile(r"label[\"'*_`\s]*[:=\uff1a][\"'*_`\s]*([123])\b[^\d\n}]*\s*\Z", re.IGNORECASE)
_FENCED = re.compile(r"\A```\w*\s+(.*?)\s*```\Z", re.DOTALL)
_SHOWN, _REASON = 80, 300
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
    try:
        body = key.withheld(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"an answer that is not JSON: {_shown(key.withheld(text))}") from error
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
        raise UnusableError(f"an answer that is no chat completion: {_shown(key.withheld(text))}")
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
    choice = next(iter(body["choices"]), None)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Reply(None, "an empty choice")
    if refusal := message.get("refusal"):
        return Reply(None, f"refused: {_shown(str(refusal))}", refused=True)
    if choice.get("finish_reason") == "content_filter":
        return Reply(None, "refused: the server's filter held the answer back", refused=True)
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        return Reply(None, "an empty answer" + _cut_off(choice))
    # Half of a pair of surrogates has no UTF-8, and could not be kept.
    content = content.encode("utf-8", "replace").decode("utf-8")
    label = _label_of_object(content)
    if label is None and (closing := _CLOSING.search(content)):
        label = int(closing[1])
    if label is None:
        return Reply(None, f"no label in {_shown(content)}" + _cut_off(choice))
    return Reply(label, said=content)


def _label_of_object(content: str) -> int | None:
    """The label of an answer that is a JSON object and nothing else, perhaps in a fence.

    An object among words may be quoted from a description, which must not decide.
    """
    answer = _object(content) or {}
    label = answer.get("label")
    if isinstance(label, str) and label.strip().isdecimal():
        label = int(label)
    return label if type(label) is int and label in LABELS else None


def _object(content: str) -> dict[str, Any] | None:
    fenced = _FENCED.search(content.strip())
    try:
        answer = json.loads(fenced[1] if fenced else content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def reason_in(said: str) -> str:
    """Why a model gave its label, in a line: the reason of an object, else its words without the closing label."""
    answer = _object(said)
    if answer is None:
        return one_line(_CLOSING.sub("", said).rstrip("*_`# "), _REASON)
    reason = answer.get("reason")
    return one_line(reason, _REASON) if isinstance(reason, str) else ""


def _cut_off(choice: Mapping[str, Any]) -> str:
    return "; it was cut off, raise judge.max_tokens" if choice.get("finish_reason") == "length" else ""


def one_line(text: str, longest: int = _SHOWN) -> str:
    """A text as a message has room for it: on one line, and cut off where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[:longest] + "…"


def _shown(text: str) -> str:
    return repr(one_line(text))
