"""Where in what a model wrote its answer stands, and the JSON object that the answer is."""

import json
import re
from contextlib import suppress
from typing import Any

from sae_match.semantics.judge.server.loose import loose_value, unambiguous
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


def object_in(answer: str, *, torn: bool = False) -> dict[str, Any] | None:
    """The JSON object that an answer is, or nearly is, its keys in small letters; none where it is none.

    It may be alone in an array, in another object or in a fence. Within another object, and where words stand above the
    fence, it has to have a reason and a label: an object among others or among words may be quoted from a description,
    which must not decide.

    Args:
        answer: As `answer_in` gives it.
        torn: Whether the answer may end before the object does. That of a model which was cut off may not.
    """
    if (found := _loaded(answer, torn=torn)) is not None:
        return found
    before, inside = _fenced(answer)
    found = _loaded(inside, torn=torn)
    return found if found is None or not before.strip() or _is_judgement(found) else None


def _fenced(answer: str) -> tuple[str, str]:
    """What stands before the fence at the end of an answer, and in it; nothing where there is none."""
    is_closed = answer.endswith(_FENCE) and answer.count(_FENCE) > 1
    if not is_closed and answer.count(_FENCE) != 1:
        return "", ""
    body = answer.removesuffix(_FENCE) if is_closed else answer
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


def _loaded(text: str, *, torn: bool = False) -> dict[str, Any] | None:
    found = _read(text, torn=torn)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return None
    return found if "label" in found else _within(found)


def _read(text: str, *, torn: bool) -> Any:
    try:
        # Not strictly: models break lines inside strings.
        return json.loads(text, strict=False, object_pairs_hook=unambiguous)
    except RecursionError:
        return None
    except ValueError:
        with suppress(ValueError):
            return loose_value(text, torn=torn)
        return None


def _within(found: dict[str, Any]) -> dict[str, Any]:
    """The one judgement in an object that has no label, which may be alone in an array; else the object."""
    values = (value[0] if isinstance(value, list) and len(value) == 1 else value for value in found.values())
    judgements = [value for value in values if isinstance(value, dict) and _is_judgement(value)]
    return judgements[0] if len(judgements) == 1 else found


def _is_judgement(found: dict[str, Any]) -> bool:
    return {"reason", "label"} <= set(found)
