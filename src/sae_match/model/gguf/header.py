"""The header of a GGUF file: what it says of itself, and where its tensors lie. No tensor is read."""

import io
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sae_match.errors import UserError

_MAGIC = b"GGUF"
# Version 1 counted in 32 bits; no file of it is left.
_VERSIONS = (2, 3)
# Types of values of a fixed size, by their number, as `struct` spells them; besides these there are strings and arrays.
_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# A tensor's name, dimensions, type and place take at least this many bytes; a field and a string of an array as well.
_LEAST_OF_TENSOR, _LEAST_OF_FIELD, _LEAST_OF_STRING = 24, 13, 8
# ggml's tensors have four.
_MOST_DIMENSIONS = 8
_ALIGNMENT = "general.alignment"
_USUAL_ALIGNMENT = 32

Value = int | float | bool | str


@runtime_checkable
class Readable(Protocol):
    """An open file of bytes."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""

    def seek(self, offset: int, whence: int, /) -> int:
        """Go elsewhere."""


class DamagedError(UserError):
    """The file is no GGUF file, or not a whole one."""


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor of a file.

    Attributes:
        shape: As torch has it, the slowest dimension first.
        kind: Number of its ggml type.
        offset: Its first byte, from where the tensors begin.
    """

    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def entries(self) -> int:
        """Number of its entries."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says of itself.

    Attributes:
        fields: Its values by name; of an array the number of its entries.
        tensors: Its tensors by name.
        start: First byte of the tensors.
        size: Bytes of the file.
    """

    fields: Mapping[str, Value]
    tensors: Mapping[str, GGUFTensor]
    start: int
    size: int


def read_header(file: Readable, size: int) -> GGUFHeader:
    """The header of a file that is open at its beginning; counts are believed as far as the file is long.

    Args:
        file: Read in order, from its first byte.
        size: Its bytes.

    Raises:
        DamagedError: If it is no GGUF file, or its header is cut off or makes no sense.
    """
    reader = _Reader(file, size)
    if reader.bytes(len(_MAGIC)) != _MAGIC:
        raise DamagedError("it does not begin as GGUF files do")
    version = reader.number("I")
    if version not in _VERSIONS:
        raise DamagedError(f"it is of version {version}, versions {' and '.join(map(str, _VERSIONS))} are known")
    n_tensors, n_fields = reader.count(_LEAST_OF_TENSOR), reader.count(_LEAST_OF_FIELD)
    fields: dict[str, Value] = {}
    for _ in range(n_fields):
        name = reader.string()
        fields[name] = reader.value(reader.number("I"))
    tensors: dict[str, GGUFTensor] = {}
    for _ in range(n_tensors):
        name = reader.string()
        dimensions = reader.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise DamagedError(f"tensor {name!r} has {dimensions} dimensions")
        # ggml counts from the fastest dimension.
        shape = tuple(reader.number("Q") for _ in range(dimensions))[::-1]
        tensors[name] = GGUFTensor(shape, reader.number("I"), reader.number("Q"))
    alignment = fields.get(_ALIGNMENT, _USUAL_ALIGNMENT)
    if type(alignment) is not int or alignment < 1:
        raise DamagedError(f"its alignment is {alignment!r}")
    return GGUFHeader(fields, tensors, -(-reader.at // alignment) * alignment, size)


class _Reader:
    """Takes values from a file one after another, and none beyond its end."""

    def __init__(self, file: Readable, size: int) -> None:
        self._file, self._size, self.at = file, size, 0

    def bytes(self, count: int) -> bytes:
        self._refuse_beyond(count)
        found = self._file.read(count)
        self.at += len(found)
        if len(found) != count:
            raise DamagedError("it ends in the middle of its header")
        return found

    def number(self, kind: str) -> int:
        # Of the two kinds that are asked for by themselves, both are whole.
        return int(struct.unpack(f"<{kind}", self.bytes(struct.calcsize(f"<{kind}")))[0])

    def count(self, least: int) -> int:
        """How many things follow that take at least so many bytes each."""
        found = self.number("Q")
        self._refuse_beyond(found * least)
        return found

    def string(self) -> str:
        try:
            return self.bytes(self.count(1)).decode()
        except UnicodeDecodeError as error:
            raise DamagedError("a name in it is no text") from error

    def value(self, kind: int) -> Value:
        if kind in _FIXED:
            one: Value = struct.unpack(f"<{_FIXED[kind]}", self.bytes(struct.calcsize(f"<{_FIXED[kind]}")))[0]
            return one
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._passed_array()
        raise DamagedError(f"it holds a value of type {kind}, which there is not")

    def _passed_array(self) -> int:
        kind = self.number("I")
        if kind in _FIXED:
            width = struct.calcsize(f"<{_FIXED[kind]}")
            entries = self.count(width)
            self._pass(entries * width)
        elif kind == _STRING:
            entries = self.count(_LEAST_OF_STRING)
            for _ in range(entries):
                self._pass(self.count(1))
        else:
            raise DamagedError(f"it holds an array of type {kind}, which is not read here")
        return entries

    def _pass(self, count: int) -> None:
        self._refuse_beyond(count)
        self._file.seek(count, io.SEEK_CUR)
        self.at += count

    def _refuse_beyond(self, count: int) -> None:
        if count > self._size - self.at:
            raise DamagedError("it ends in the middle of its header")
