"""Documents one after another in rows without padding."""

from collections.abc import Iterable, Iterator, Sequence


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
