"""Where in what a model wrote its answer stands, and the JSON object that the answer is."""

import json
import re
from typing import Any

from sae_match.semantics.judge.verdicts import LABELS

_THOUGHT = r"(?:think|thinking|thought|reasoning)"
# As models of several families mark it; those with channels say what they think in one and answer in another.
_CHANNEL = r"<\|channel\|>\s*"
_OPENED = re.compile(rf"<{_THOUGHT}(?:\s[^<>]*)?>|\[{_THOUGHT}\]|◁{_THOUGHT}▷|{_CHANNEL}(?!final)", re.IGNORECASE)
_CLOSED = re.compile(rf"</{_THOUGHT}>|\[/{_THOUGHT}\]|◁/{_THOUGHT}▷|{_CHANNEL}final\s*<\|message\|>", re.IGNORECASE)
# A mark of a turn's end that a server should have kept for itself, and how long one can be, and how many there are.
_END_OF_TURN = re.compile(r"(?:<\|[\w-]+\|>|</?s>|<(?:end_of_turn|eos)>)\Z")
_LONGEST_MARK, _MOST_MARKS = 40, 5
_FENCE = "```"
_LANGUAGE = re.compile(r"\w*\s")
# Characters of a number that is written as text; a longer one is no label, and costs time to read.
_LONG = 20


def answer_in(content: str) -> str | None:
    """What a model wrote without its thoughts and the marks around it; none where it ends within a thought.

    What a model thinks may hold any number, which is not its answer.
    """
    text = content.strip().removeprefix("\ufeff").lstrip()
    for _ in range(_MOST_MARKS):
        if not (mark := _END_OF_TURN.search(text[-_LONGEST_MARK:])):
            break
        text = text[: -len(mark[0])].rstrip()
    if _loaded(text) is not None:
        # An object may have such tags in its strings.
        return text
    end = 0
    for closed in _CLOSED.finditer(text):
        end = closed.end()
    text = text[end:].strip()
    return None if _OPENED.search(text) else text


def object_in(answer: str) -> dict[str, Any] | None:
    """The JSON object that an answer is, its keys in small letters; none where it is none.

    It may be alone in an array or in a fence. Above a fence may stand words if the object has a reason and a label.
    An object among words may be quoted from a description, which must not decide.
    """
    if (found := _loaded(answer)) is not None:
        return found
    before, inside = _fenced(answer)
    found = _loaded(inside)
    return found if found is None or not before.strip() or {"reason", "label"} <= set(found) else None


def _fenced(answer: str) -> tuple[str, str]:
    """What stands before the fence at the end of an answer, and in it; nothing where there is none."""
    if len(answer) < 2 * len(_FENCE) or not answer.endswith(_FENCE):
        return "", ""
    body = answer.removesuffix(_FENCE)
    # A string of an object may have a fence in it.
    start = 0 if answer.startswith(_FENCE) and body.count(_FENCE) != 3 else body.rfind(_FENCE)
    before, inside = body[: max(start, 0)], body[start + len(_FENCE) :]
    if start < 0 or (before.strip() and not before.rstrip(" \t").endswith("\n")):
        return "", ""
    language = _LANGUAGE.match(inside)
    return before, inside[language.end() :] if language else ""


def label_of(answer: dict[str, Any]) -> int | None:
    """The label of an object; none where it has none, or one that is not 1, 2 or 3."""
    label = answer.get("label")
    if isinstance(label, str) and label.strip().isdecimal() and len(label) < _LONG:
        label = int(label)
    if isinstance(label, float) and label in LABELS:
        label = int(label)
    return label if type(label) is int and label in LABELS else None


def _loaded(text: str) -> dict[str, Any] | None:
    try:
        # Not strictly: models break lines inside strings.
        found = json.loads(text, strict=False, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, dict) else None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with keys in small letters.

    Raises:
        ValueError: If a key comes twice, so that one of two labels would be chosen for no reason.
    """
    found = {key.strip().lower(): value for key, value in pairs}
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found
