"""A document is the unit of text: what is split, truncated, batched and resampled."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Part = Literal["training", "fitting", "evaluation"]
PARTS: tuple[Part, ...] = ("training", "fitting", "evaluation")

_TENTHS: tuple[Part, ...] = ("training",) * 8 + ("fitting", "evaluation")
_BLANK_LINE = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Document:
    """A piece of text that is evaluated as a whole.

    Attributes:
        id: Name of the document, unique within its dataset.
        group: Name of the work it was cut from; a work is never divided between two parts.
        text: The text itself.
    """

    id: str
    group: str
    text: str


def part_of(group: str) -> Part:
    """Part to which a work belongs: eight tenths training, one fitting, one evaluation.

    The choice hashes the work's name alone, so it is the same on every machine, and a work that is
    added or removed moves no other.
    """
    digest = hashlib.sha256(group.encode()).digest()
    return _TENTHS[int.from_bytes(digest[:8], "big") % len(_TENTHS)]


def in_part(documents: Iterable[Document], part: Part) -> list[Document]:
    """Documents whose work belongs to `part`, in the given order."""
    return [document for document in documents if part_of(document.group) == part]


def cut_into_passages(work: Document, characters: int) -> Iterator[Document]:
    """Cut a work at blank lines into passages of at least `characters` characters.

    Whatever is left at the end joins the last passage, so that no passage is a scrap.
    """
    pieces = [piece for piece in _BLANK_LINE.split(work.text) if piece.strip()]
    passages = _gather(pieces, characters)
    for number, passage in enumerate(passages):
        yield Document(id=f"{work.id}#{number}", group=work.group, text=passage)


def _gather(pieces: Sequence[str], characters: int) -> list[str]:
    passages: list[str] = []
    open_pieces: list[str] = []
    length = 0
    for piece in pieces:
        open_pieces.append(piece)
        length += len(piece)
        if length >= characters:
            passages.append("\n\n".join(open_pieces))
            open_pieces, length = [], 0
    if open_pieces:
        rest = "\n\n".join(open_pieces)
        passages = [*passages[:-1], f"{passages[-1]}\n\n{rest}"] if passages else [rest]
    return passages
