"""Foreign files and answers, damaged at random: a `UserError` or the right kind of object, never another end."""

import gzip
import io
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from sae_match.addresses import Key
from sae_match.errors import UserError
from sae_match.semantics.judge.server.reading import (
    Reply,
    UnusableError,
    Usage,
    read_body,
    read_reply,
    read_usage,
    reason_in,
)
from sae_match.semantics.neuronpedia.api import _kept
from sae_match.semantics.neuronpedia.explanations import (
    Explanation,
    Explanations,
    described,
    kept_explanation,
    read_feature,
    read_lines,
)
from sae_match.semantics.neuronpedia.export import BATCH, _kept_names, _listing
from sae_match.semantics.waiting import asked_wait
from tests.faults.refusals import tell

MODEL, SOURCE = "gemma-2-2b", "20-res-16k"
ROW = {
    "modelId": MODEL,
    "layer": SOURCE,
    "index": "7",
    "id": "clx1",
    "description": "months of the year, 船",
    "explanationModelName": "gpt-4o-mini",
    "typeName": "oai_token-act-pair",
    "scores": [{"value": 0.5}, {"value": 1}],
}
KEPT = {"feature": 7, "id": "a", "text": "months", "model": "m", "kind": "k", "score": 0.5}
CHAT = {
    "choices": [
        {
            "message": {
                "content": '<think>so</think>\n```json\n{"reason": "Both.", "label": 3}\n```<|im_end|>',
                "reasoning_content": "thought",
                "refusal": None,
            },
            "finish_reason": "stop",
            "error": None,
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9},
}
LISTING = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Contents><Key>v1/m/s/explanations/batch-0.jsonl.gz</Key></Contents>"
    b"<NextContinuationToken>abc</NextContinuationToken></ListBucketResult>"
)
# In place of any value of a JSON document.
VALUES = (
    *(None, True, False, 0, -1, 2**31, 2**63, 10**400, 1.5, 1e308, float("nan"), float("inf")),
    *("", " ", "x" * 50_000, "\ud800", "\x00", "<think>", "../../x", "9" * 5000, [], {}, [[]], [None], [1e308] * 3),
    *({"value": 10**400}, [{"value": 1e308}] * 3, [{"value": "3"}], [{"type": "text", "text": 3}]),
)


def places(value, at=()):
    """Where the values of a JSON document are."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*at, key))


def with_another_value(document, draw):
    """A document with one value, or one key, replaced or left out."""
    document = json.loads(json.dumps(document))
    at = draw.choice(list(places(document)))
    if not at:
        return draw.choice(VALUES)
    holder = document
    for key in at[:-1]:
        holder = holder[key]
    if isinstance(holder, dict) and draw.random() < 0.2:
        holder[draw.choice(["", "x" * 300, "Label", at[-1] + " "])] = holder.pop(at[-1])
    elif draw.random() < 0.1:
        del holder[at[-1]]
    else:
        holder[at[-1]] = draw.choice(VALUES)
    return document


def damaged(data, draw):
    """Bytes cut off, flipped, doubled, or nested beyond reason."""
    data = bytearray(data)
    kind = draw.randrange(4)
    if kind == 0:
        return bytes(data[: draw.randrange(len(data) + 1)])
    if kind == 1:
        for _ in range(draw.randrange(1, 8)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(data)
    if kind == 2:
        start = draw.randrange(len(data))
        return bytes(data[:start] + data[start : start + 40] * draw.randrange(2, 50) + data[start:])
    return draw.choice([b"[", b'{"choices":', b'{"explanations":[', b"<a>"]) * draw.randrange(1, 3000) + bytes(data)


def documents(document, draw):
    """Endless mutations of a JSON document as bytes; surrogates are kept as JSON writes them."""
    whole = json.dumps(document).encode()
    while True:
        yield damaged(whole, draw) if draw.random() < 0.5 else json.dumps(with_another_value(document, draw)).encode()


def sound(found):
    """Whether an explanation is one that can be written down and read again."""
    assert isinstance(found, Explanation)
    assert kept_explanation(json.loads(json.dumps(vars(found)))) == found
    assert described([found]) in (None, found.text)
    found.text.encode()


def of_the_api(draw, _folder):
    for body in documents({"explanations": [ROW, ROW], "index": "7"}, draw):
        try:
            rows = read_feature(body, "there", 7)
        except UserError as error:
            yield str(error)
            continue
        for row in rows:
            sound(row)
        yield ""


def of_the_export(draw, _folder):
    for row in documents(ROW, draw):
        lines = row + b"\n" + json.dumps(ROW).encode()
        packed = draw.choice([lines, gzip.compress(lines, mtime=0), damaged(gzip.compress(lines, mtime=0), draw)])
        try:
            rows = list(read_lines(io.BytesIO(packed), "there", MODEL, SOURCE))
        except UserError as error:
            yield str(error)
            continue
        for one in rows:
            sound(one)
        assert sum(len(Explanations(rows).of(feature)) for feature in {one.feature for one in rows}) == len(rows)
        yield ""


def of_a_listing(draw, _folder):
    while True:
        page = _listing(damaged(LISTING, draw))
        assert page is None or (all(isinstance(key, str) for key in page[0]) and isinstance(page[1], str | None))
        yield ""


def of_a_judge(draw, _folder):
    for body in documents(CHAT, draw):
        text = body.decode("utf-8", "replace")
        try:
            read = read_body(text, Key("A_KEY", "months"))
        except UnusableError as error:
            yield str(error)
            continue
        assert isinstance(read_usage(read), Usage | None)
        reply = read_reply(read)
        assert isinstance(reply, Reply)
        assert reply.label in (None, 1, 2, 3)
        assert type(reply.label) in (type(None), int)
        reply.said.encode()
        yield reply.reason + reason_in(reply.said)


def of_what_a_judge_says(draw, _folder):
    said = CHAT["choices"][0]["message"]["content"].encode()
    while True:
        content = damaged(said, draw).decode("utf-8", "replace")
        reply = read_reply({"choices": [{"message": {"content": content}}]})
        assert reply.label in (None, 1, 2, 3)
        yield reply.reason + reason_in(reply.said)


def of_kept_answers(draw, folder):
    file = folder / "7.json"
    for body in documents({"explanations": [KEPT]}, draw):
        file.write_bytes(body)
        for row in _kept(file) or []:
            assert isinstance(described([row]), str | None)
            Explanations([row])
        yield ""


def of_kept_names(draw, folder):
    file = folder / "batches.json"
    for body in documents(["explanations/batch-0.jsonl.gz", "explanations/batch-1.jsonl.gz"], draw):
        file.write_bytes(body)
        assert all(BATCH.fullmatch(name) for name in _kept_names(file) or [])
        yield ""


def of_headers(draw, _folder):
    while True:
        said = draw.choice([b"120", b"Fri, 27 Nov 2026 14:51:39 GMT", b"nan", b"1e400", b"9" * 5000])
        wait = asked_wait({"retry-after": damaged(said, draw).decode("latin-1")})
        assert wait is None or wait >= 0
        yield ""


READERS = [
    *(of_the_api, of_the_export, of_a_listing, of_a_judge, of_what_a_judge_says),
    *(of_kept_answers, of_kept_names, of_headers),
]


def look_at(reader, seed, times, folder: Path):
    """How often a reader refused what it was given, and how often it read it."""
    counts = Counter()
    for said in islice(reader(random.Random(f"{reader.__name__} {seed}"), folder), times):
        assert "\n" not in said
        assert len(said) < 1000
        counts["refused" if said else "read"] += 1
    return counts


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_what_is_damaged_gives_one_line_or_the_right_object(reader, damages, tmp_path, capsys):
    tell(capsys, reader.__name__, damages, look_at(reader, 0, damages, tmp_path))


def test_a_table_of_explanations_that_was_damaged_is_none_or_whole(tmp_path):
    draw, file = random.Random(2), tmp_path / "table.parquet"
    Explanations([kept_explanation({**KEPT, "feature": number}) for number in range(50)]).save(file)
    whole = file.read_bytes()
    for _ in range(200):
        file.write_bytes(damaged(whole, draw))
        try:
            found = Explanations.load(file)
        except (OSError, ValueError, ArithmeticError):
            continue
        for number in range(50):
            for row in found.of(number):
                sound(row)


def test_what_unpacks_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("sae_match.semantics.neuronpedia.explanations._LONGEST_ROW", 1000)
    with pytest.raises(UserError, match="there, line 1: no explanation is as long"):
        list(read_lines(io.BytesIO(gzip.compress(b"x" * 100_000)), "there", MODEL, SOURCE))
