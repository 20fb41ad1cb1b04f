"""Objects that models write and that are nearly JSON: their edges are made good, what they say is not."""

import json
import re
from collections.abc import Iterable
from typing import Any

# Deeper or longer texts are no answers, and cost time to read.
_DEEPEST, _LONGEST = 4, 1 << 16
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?(?![\w.])")
_WORD = re.compile(r"[A-Za-z_]\w*")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
# A quote ends a string only where what comes behind a string comes behind it: others belong to it, as in "they're".
_BEHIND = r"\s*(?:[}\]]|\Z|,\s*(?:[\"'{}\[\]]|\w{1,40}\s{0,9}:|\Z))"
_ENDS = {quote: re.compile(rf"(?<!\\)(?:\\\\)*{quote}(?={_BEHIND})") for quote in "\"'"}
_ENDS_OF_KEYS = {quote: re.compile(rf"{quote}(?=\s*:)") for quote in "\"'"}
_BARE_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)"')
# Behind an object: what closes nothing any more.
_REST = re.compile(r"[\s}\],;.]*\Z")


def loose_value(text: str, *, torn: bool) -> Any:
    """The object or array that a text is nearly, its keys in small letters.

    Commas may be too many, quotes single or bare within a string, keys without any.

    Args:
        text: It begins with it.
        torn: Whether it may end before the object does; a last string is then shorter than it was to be.

    Raises:
        ValueError: If it is none, or a key comes twice.
    """
    if not text.startswith(("{", "[")) or len(text) > _LONGEST:
        raise ValueError("it does not begin like an object, or is too long for one")
    reader = _Reader(text)
    found = reader.value(0)
    if reader.is_torn and not torn:
        raise ValueError("it ends before the object does")
    if not _REST.match(text, reader.at):
        raise ValueError("there is something behind the object")
    return found


def unambiguous(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object with keys in small letters.

    Raises:
        ValueError: If a key comes twice, so that one of two labels would be chosen for no reason.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = key.strip().lower()
        if name in found:
            raise ValueError("a key comes twice")
        found[name] = value
    return found


class _Reader:
    """Reads values one after another; at the end of the text it gives what there is.

    Attributes:
        at: Where the next one begins.
        is_torn: Whether the text has ended within a value.
    """

    def __init__(self, text: str) -> None:
        self.text, self.at, self.is_torn = text, 0, False

    def value(self, depth: int) -> Any:
        """The value that begins here."""
        first = self._seen()
        if first in ("{", "["):
            if depth == _DEEPEST:
                raise ValueError("it is nested beyond reason")
            self.at += 1
            return unambiguous(self._pairs(depth + 1)) if first == "{" else self._items(depth + 1)
        if first in _ENDS:
            return self._string(first)
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            return json.loads(number[0])
        word = self._word().lower()
        if word not in _WORDS:
            raise ValueError(f"{word} is no value")
        return _WORDS[word]

    def _pairs(self, depth: int) -> list[tuple[str, Any]]:
        pairs = []
        while self._goes_on("}"):
            key = self._key()
            self._pass(":")
            if self._seen():
                pairs.append((key, self.value(depth)))
            self._pass_comma("}")
        return pairs

    def _items(self, depth: int) -> list[Any]:
        items = []
        while self._goes_on("]"):
            items.append(self.value(depth))
            self._pass_comma("]")
        return items

    def _goes_on(self, closing: str) -> bool:
        """Whether another entry begins; passes what closes them, if that is here."""
        here = self._seen()
        if here == closing:
            self.at += 1
        self.is_torn |= not here
        return here not in (closing, "")

    def _key(self) -> str:
        quote = self._seen()
        if quote not in _ENDS_OF_KEYS:
            return self._word()
        end = _ENDS_OF_KEYS[quote].search(self.text, self.at + 1)
        key = self.text[self.at + 1 : end.start() if end else None]
        self.at = end.end() if end else len(self.text)
        return key

    def _string(self, quote: str) -> str:
        end = _ENDS[quote].search(self.text, self.at + 1)
        inner = self.text[self.at + 1 : end.end() - 1 if end else None]
        self.is_torn |= end is None
        self.at = end.end() if end else len(self.text)
        return _unescaped(inner)

    def _word(self) -> str:
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise ValueError("there is neither a key nor a value")
        self.at = word.end()
        return word[0]

    def _pass(self, mark: str) -> None:
        here = self._seen()
        if here not in (mark, ""):
            raise ValueError(f"there is no {mark}")
        self.at += len(here)

    def _pass_comma(self, closing: str) -> None:
        """Pass a comma, which may be one too many; between two entries there has to be one."""
        if self._seen() != closing:
            self._pass(",")

    def _seen(self) -> str:
        """The next character that is no space; nothing at the end."""
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        return self.text[self.at : self.at + 1]


def _unescaped(inner: str) -> str:
    """What stands between the quotes of a string; word for word where it has escapes that JSON does not know."""
    try:
        found: str = json.loads('"' + _BARE_QUOTE.sub(r'\1\\"', inner.replace("\\'", "'")) + '"', strict=False)
    except ValueError:
        return inner
    return found
