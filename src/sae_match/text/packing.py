"""Little or no padding: documents one after another in rows, or those of like length in one batch."""

from collections.abc import Iterable, Iterator, Sequence
from random import Random


def packed(documents: Iterable[Sequence[int]], length: int) -> Iterator[list[int]]:
    """Rows of `length` token ids that hold documents one after another; an unfilled last row is dropped.

    Every document keeps its BOS. One that does not fit is continued in the next row, which begins with
    BOS as well. Rows are plain concatenations: a token attends to all before it in its row, also to
    those of other documents.

    Args:
        documents: Token ids of each document, BOS in front.
        length: Tokens in a row, at least 2.
    """
    row: list[int] = []
    for ids in documents:
        rest = ids
        while rest:
            room = length - len(row)
            row.extend(rest[:room])
            rest = rest[room:]
            if len(row) == length:
                yield row
                row = [ids[0]] if rest else []


def of_like_length(rows: Sequence[Sequence[int]], batch: int, seed: int) -> list[list[int]]:
    """Numbers of rows in batches of like length, so that little is padded.

    Batches come in an order that is drawn, as the first few of them may be all that is read; rows of one length in
    their own.
    """
    ranked = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    batches = [sorted(ranked[start : start + batch]) for start in range(0, len(rows), batch)]
    if len({len(row) for row in rows}) > 1:
        Random(seed).shuffle(batches)
    return batches
