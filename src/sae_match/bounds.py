"""How much of a file of others is taken into memory: several times what any real one holds, and no more.

A few hundred kilobytes can unpack to gigabytes; whoever reads such a file is told so instead.
"""

from sae_match.errors import UserError

_MIB, _GIB = 1 << 20, 1 << 30

#: Bytes of a file of settings in JSON, and of the header or the pickle that tells the tensors of a file.
MOST_SETTINGS = 16 * _MIB
#: Bytes of a file with a vocabulary; those of a million tokens have 40 MB.
MOST_VOCABULARY = 256 * _MIB
#: Bytes of the tensors of one file; the largest published SAE, of 1,048,576 features, has 20 GB.
MOST_TENSORS = 64 * _GIB
#: Up to so many bytes a compressed archive may unpack to whatever it likes; beyond, to so many times its size.
#: Trained weights shrink to no less than a third.
UNPACKED_FREELY, MOST_TIMES_UNPACKED = _GIB, 20
#: Bytes of one row of text: a JSON line; or characters of a cell of a table.
MOST_ROW = 16 * _MIB
#: Bytes of a file that is one text.
MOST_TEXT = _GIB
#: Bytes of one row group of a table, unpacked.
MOST_ROW_GROUP = 8 * _GIB
#: Bytes of the rows of a table that are unpacked at a time.
ROWS_HELD = _GIB // 4


def refuse_beyond(most: int, size: int, where: object, what: str) -> None:
    """Refuse what is larger than anything real.

    Args:
        most: Bytes that are read at most.
        size: Bytes that there are.
        where: File, and place in it.
        what: What is so large.

    Raises:
        UserError: If there are more.
    """
    if size > most:
        raise UserError(f"{where}: {what} takes {in_words(size)}; at most {in_words(most)} is read")


def refuse_bomb(packed: int, unpacked: int, where: object) -> None:
    """Refuse an archive that unpacks to much more than weights can.

    Raises:
        UserError: If it does.
    """
    refuse_beyond(MOST_TENSORS, unpacked, where, "what it holds, unpacked,")
    if unpacked > max(UNPACKED_FREELY, MOST_TIMES_UNPACKED * packed):
        raise UserError(
            f"{where}: its {in_words(packed)} unpack to {in_words(unpacked)}; beyond {in_words(UNPACKED_FREELY)} "
            f"at most {MOST_TIMES_UNPACKED} times its size is read"
        )


def in_words(size: int) -> str:
    """A number of bytes in the unit that suits it."""
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"
