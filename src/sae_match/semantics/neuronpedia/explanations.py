"""Explanations of features as Neuronpedia tells them, and which of several is the description of a feature."""

import gzip
import io
import json
import math
import reprlib
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sae_match.errors import UserError
from sae_match.files import written_whole

# No SAE has as many features; a larger number is no feature's.
_FEATURES = 2**31
# Bytes of a row, rows of a file and characters of a text; what is longer is no explanation, or not read to its end.
_LONGEST_ROW, _MOST_ROWS, _LONGEST_TEXT = 2**24, 2**24, 20_000
# Keys of a row that a message names.
_SHOWN = 12
# Of a score that is one; not a number is not below it either.
_LARGEST_SCORE = 1e100
_GZIP = b"\x1f\x8b"
_SCHEMA = pa.schema(
    {
        "feature": pa.int64(),
        "id": pa.string(),
        "text": pa.string(),
        "model": pa.string(),
        "kind": pa.string(),
        "score": pa.float64(),
    }
)


@dataclass(frozen=True)
class Explanation:
    """What a feature means, as somebody or some model put it.

    Attributes:
        feature: Which feature of its SAE.
        id: Its name on Neuronpedia; later ones sort after earlier ones.
        text: In any script; runs of white space are one space.
        model: The language model that wrote it; empty where a person did.
        kind: How it was made, such as `oai_token-act-pair`.
        score: Mean of the scores that it was given, None where there are none.
    """

    feature: int
    id: str
    text: str
    model: str = ""
    kind: str = ""
    score: float | None = None


def described(explanations: Iterable[Explanation], prefer: Sequence[str] = ()) -> str | None:
    """The description of a feature: the text of one of its explanations, the same one on every run.

    The first of these rules that tells two explanations apart decides:

    1. The explanation whose model or kind comes first in `prefer`; those with neither come last.
    2. The higher score; those without one come last.
    3. The earlier id, that is the older one: what was written later does not change what a run says.

    Args:
        explanations: Of one feature. Those that say nothing are left out.
        prefer: Names of models or kinds, most preferred first.
    """

    def order(explanation: Explanation) -> tuple[int, float, str, str]:
        names = (explanation.model, explanation.kind)
        rank = next((place for place, name in enumerate(prefer) if name in names), len(prefer))
        score = -math.inf if explanation.score is None else explanation.score
        return rank, -score, explanation.id, explanation.text

    best = min(
        (explanation for explanation in explanations if _says_something(explanation.text)), key=order, default=None
    )
    return None if best is None else best.text


class Explanations:
    """All explanations of the features of one SAE, a few megabytes for 16k features.

    Args:
        explanations: In any order.
    """

    def __init__(self, explanations: Iterable[Explanation] = ()) -> None:
        rows = sorted(explanations, key=lambda row: (row.feature, row.id))
        self._hold(pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA))

    @classmethod
    def load(cls, path: Path) -> "Explanations":
        """Those that `save` has written.

        Raises:
            OSError, pa.ArrowException: If the file cannot be read.
            ValueError: If it holds something else.
        """
        table = pq.read_table(path)
        if not table.schema.equals(_SCHEMA):
            raise ValueError(f"it holds other columns than {', '.join(_SCHEMA.names)}")
        table.validate(full=True)
        if any(table[name].null_count for name in _SCHEMA.names if name != "score"):
            raise ValueError("it lacks values")
        if np.any(np.diff(table["feature"].to_numpy()) < 0):
            raise ValueError("its features are in no order")
        loaded = cls()
        loaded._hold(table)
        return loaded

    @classmethod
    def joined(cls, parts: Sequence["Explanations"]) -> "Explanations":
        """Those of several parts."""
        table = pa.concat_tables([_SCHEMA.empty_table(), *(part._table for part in parts)])
        whole = cls()
        whole._hold(table.sort_by([("feature", "ascending"), ("id", "ascending")]))
        return whole

    def save(self, path: Path) -> None:
        """Write them, whole or not at all.

        Raises:
            UserError: If that cannot be done.
        """
        with written_whole(path) as temporary:
            pq.write_table(self._table, temporary, compression="zstd")

    def of(self, feature: int) -> list[Explanation]:
        """The explanations of a feature."""
        first, last = np.searchsorted(self._features, [feature, feature + 1])
        return [Explanation(**row) for row in self._table.slice(first, last - first).to_pylist()]

    def _hold(self, table: pa.Table) -> None:
        self._table = table
        self._features = table["feature"].to_numpy()


def read_lines(stream: io.BytesIO | io.BufferedReader, where: str, model: str, source: str) -> Iterator[Explanation]:
    """Explanations from a file of an export: JSON lines, compressed or not, no more than a row in memory.

    Args:
        stream: The file, at its beginning; it must be able to go back.
        where: Its path or address, for people.
        model: Name of the model on Neuronpedia that the explanations must be of.
        source: Name of the source that they must be of.

    Raises:
        UserError: If the file is damaged or cut off, or a row is no explanation, or one of another source.
    """
    compressed = stream.read(len(_GZIP)) == _GZIP
    stream.seek(0)
    try:
        with gzip.open(stream) if compressed else nullcontext(stream) as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_LONGEST_ROW + 1), b""), start=1):
                here = f"{where}, line {number}"
                if len(line) > _LONGEST_ROW or number > _MOST_ROWS:
                    raise UserError(f"{here}: no explanation is as long, and no file of them")
                if not line.isspace():
                    yield _of_source(json_object(line, here), here, model, source)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where} is damaged or cut off: {error}") from error


def read_feature(body: bytes, where: str, feature: int) -> list[Explanation]:
    """Explanations from what the API says of a feature; none where it knows none.

    Raises:
        UserError: If the answer is not what the API answers.
    """
    if body.strip() == b"null":
        return []
    rows = json_object(body, where).get("explanations") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{where}: 'explanations' is no list of objects")
    # What is asked for is known; some answers leave the number out of the rows.
    return [_explanation({**row, "index": feature}, where) for row in rows]


def json_object(text: bytes, where: str) -> dict[str, Any]:
    """The JSON object that a text is.

    Raises:
        UserError: If it is none.
    """
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise UserError(f"{where}: no JSON ({reason}), it begins with {text[:20]!r}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where} holds a JSON {type(row).__name__}, not an object")
    return row


def kept_explanation(row: Any) -> Explanation:
    """An explanation that was written down by its fields.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(row, dict):
        raise TypeError("it holds no explanations")
    feature, score = row.get("feature"), row.get("score")
    texts = {name: row.get(name) for name in ("id", "text", "model", "kind")}
    if set(row) != {field.name for field in fields(Explanation)} or not all(
        isinstance(text, str) for text in texts.values()
    ):
        raise TypeError("it holds other fields than an explanation")
    if type(feature) is not int or not 0 <= feature < _FEATURES:
        raise TypeError("it holds a feature that is none")
    if not (score is None or (isinstance(score, float) and math.isfinite(score))):
        raise TypeError("it holds a score that is no number")
    return Explanation(feature, **{name: _text(text) for name, text in texts.items()}, score=score)


def shown(value: object) -> str:
    """A value of somebody else's as a message has room for it."""
    return reprlib.repr(value)


def _of_source(row: dict[str, Any], where: str, model: str, source: str) -> Explanation:
    for key, expected in (("modelId", model), ("layer", source)):
        if row.get(key, expected) != expected:
            raise UserError(f"{where} is of {key} {shown(row[key])}, not {expected!r}")
    return _explanation(row, where)


def _explanation(row: dict[str, Any], where: str) -> Explanation:
    if "description" not in row:
        raise UserError(
            f"{where} has no 'description'; there are {', '.join(map(shown, islice(row, _SHOWN))) or 'no keys'}"
        )
    text = row["description"]
    if not (text is None or isinstance(text, str)):
        raise UserError(f"'description' of {where} holds {type(text).__name__}, not text")
    return Explanation(
        feature=_feature(row.get("index"), where),
        id=_text(row.get("id")),
        text=_text(text),
        model=_text(row.get("explanationModelName")),
        kind=_text(row.get("typeName")),
        score=_score(row.get("scores")),
    )


def _feature(index: object, where: str) -> int:
    """The number of a feature, which exports write as text."""
    if isinstance(index, str) and index.isascii() and index.isdecimal() and len(index) <= len(str(_FEATURES)):
        index = int(index)
    if type(index) is not int or not 0 <= index < _FEATURES:
        raise UserError(f"'index' of {where} is {shown(index)}, not the number of a feature")
    return index


def _text(value: object) -> str:
    """A text in one line; half a surrogate pair, which JSON can hold and no file can, becomes a question mark."""
    text = " ".join(value[:_LONGEST_TEXT].split()) if isinstance(value, str) else ""
    return text.encode(errors="replace").decode()


def _score(scores: object) -> float | None:
    """The mean of the scores that are numbers."""
    given = [score.get("value") for score in scores if isinstance(score, dict)] if isinstance(scores, list) else []
    numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    finite = [float(value) for value in numbers if abs(value) < _LARGEST_SCORE]
    return math.fsum(finite) / len(finite) if finite else None


def _says_something(text: str) -> bool:
    """Whether anything in a text can be seen: no control, format or separator characters alone."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)
