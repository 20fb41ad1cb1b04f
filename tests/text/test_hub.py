"""Datasets of a hub on this machine. The endpoint is read at import, so a process of its own asks."""

import gzip
import json
import os
import socket
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae_match.text.hub import _chosen
from tests.text.mini_hub import COMMIT, MiniHub

# Asks every question that is given as JSON and prints the answers as JSON.
CLIENT = """
import json, sys
from itertools import islice
from sae_match.errors import UserError
from sae_match.text.drawing import in_seeded_order
from sae_match.text.describing import describe
from sae_match.text.sources import open_source
from sae_match.text.settings import SourceSettings

def ask(question, settings):
    source = SourceSettings("hub", **settings)
    try:
        if question == "describe":
            return vars(describe(source))
        if question == "open":
            return [document.text for document in open_source(source)]
        return [document.text for document in islice(in_seeded_order(source, "evaluation", 0), 5)]
    except UserError as error:
        return str(error)

print(json.dumps([ask(*question) for question in json.load(sys.stdin)]))
"""


def asked(endpoint, *questions):
    """Answers of a fresh process to (`describe` | `open` | `draw`, settings)."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    run = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment,
    )
    return json.loads(run.stdout)


def parquet(texts, column="text", rows=100):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({column: texts, "n": list(range(len(texts)))}), sink, row_group_size=rows)
    return sink.getvalue().to_pybytes()


def lines(texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


WEB = {f"data/train-{shard:05}.parquet": parquet([f"{shard} {row}" for row in range(50)]) for shard in range(20)}
LONG = [f"{row} " + os.urandom(3000).hex() for row in range(2000)]


@pytest.fixture(scope="module")
def answers():
    """What a process learns from a hub, by name of the question."""
    datasets = {
        "org/web": {"README.md": b"about", **WEB},
        "org/lines": {"val.jsonl.gz": gzip.compress(lines(["a", "b"])), "test.jsonl": lines(["c"])},
        "org/wiki": {"raw-v1/train-0.parquet": parquet(["", " = A = \n", "", " a\n", "", " = B = \n", "", " b\n"])},
        "org/closed": WEB,
        "org/terms": WEB,
    }
    refusals = {
        "org/private": (401, {"X-Error-Code": "RepoNotFound"}),
        "org/gated": (403, {"X-Error-Code": "GatedRepo"}),
        "org/busy": (429, {"Retry-After": "7"}),
        "org/broken": (500, {}),
    }
    questions = {
        "all of it": ("describe", {"name": "org/web"}),
        "one file": ("describe", {"name": "org/web", "data_files": ["data/*-00003.parquet"], "revision": COMMIT}),
        "rows": ("open", {"name": "org/web", "data_files": ["data/train-00003.parquet"]}),
        "drawn": ("draw", {"name": "org/web", "buffer": 10}),
        "drawn again": ("draw", {"name": "org/web", "buffer": 10}),
        "gz": ("open", {"name": "org/lines", "data_files": ["val.jsonl.gz"]}),
        "split": ("open", {"name": "org/lines", "split": "test"}),
        "articles": ("open", {"name": "org/wiki", "config": "raw-v1", "join": True}),
        "no name": ("describe", {}),
        "bad name": ("describe", {"name": "too/many/parts"}),
        "no dataset": ("describe", {"name": "org/nothing"}),
        "no revision": ("describe", {"name": "org/web", "revision": "v9"}),
        "no split": ("describe", {"name": "org/web", "split": "test"}),
        "no file": ("describe", {"name": "org/lines", "data_files": ["train.parquet"]}),
        "no column": ("open", {"name": "org/web", "column": "content"}),
        "private": ("describe", {"name": "org/private"}),
        "gated": ("describe", {"name": "org/gated"}),
        "terms": ("describe", {"name": "org/terms"}),
        "busy": ("describe", {"name": "org/busy"}),
        "broken": ("describe", {"name": "org/broken"}),
        "closed": ("open", {"name": "org/closed"}),
    }
    closed = {"org/closed": (403, {"X-Error-Code": "GatedRepo"})}
    with MiniHub(datasets, refusals, closed, gated=["org/terms"]) as hub:
        return dict(zip(questions, asked(hub.endpoint, *questions.values()), strict=True))


def test_a_dataset_is_described_by_its_metadata(answers):
    size = sum(map(len, WEB.values()))
    assert answers["all of it"] == {"kind": "hub", "where": f"org/web@{COMMIT}", "files": 20, "bytes": size}
    assert answers["one file"]["files"] == 1
    assert answers["one file"]["bytes"] == len(WEB["data/train-00003.parquet"])


def test_rows_of_every_format_are_read_in_stored_order(answers):
    assert answers["rows"] == [f"3 {row}" for row in range(50)]
    assert answers["gz"] == ["a", "b"]
    assert answers["split"] == ["c"]


def test_lines_of_wikitext_become_articles(answers):
    assert answers["articles"] == ["\n = A = \n\n a\n\n", " = B = \n\n b\n"]


def test_a_draw_is_repeatable_and_takes_from_several_files(answers):
    assert answers["drawn"] == answers["drawn again"]
    assert len(set(answers["drawn"])) == 5
    assert len({text.split()[0] for text in answers["drawn"]}) > 1


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("no name", ["'hub' needs a name"]),
        ("bad name", ["too/many/parts"]),
        ("no dataset", ["org/nothing", "check the name", "hf auth login"]),
        ("no revision", ["org/web at revision v9", "no such revision"]),
        ("no split", ["org/web has no", "split 'test'", "data/train-00000.parquet", "data_files"]),
        ("no file", ["'train.parquet'", "it has test.jsonl, val.jsonl.gz"]),
        ("no column", ["no column 'content'", "data/train-00000.parquet", "there are 'text', 'n'"]),
        ("private", ["org/private", "hf auth login"]),
        ("gated", ["org/gated", "accept its terms", "hf auth login"]),
        ("terms", ["org/terms", "accept its terms", "hf auth login"]),
        ("busy", ["org/busy", "429", "7 s"]),
        ("broken", ["org/broken", "500", "try again later"]),
        ("closed", ["org/closed", "accept its terms"]),
    ],
)
def test_every_refusal_is_one_line_with_its_remedy(answers, question, words):
    assert "\n" not in answers[question]
    assert all(word in answers[question] for word in words), answers[question]


def test_a_draw_fetches_no_more_than_it_needs():
    """Five documents of a file of 12 MB: some of its row groups, not all."""
    with MiniHub({"org/long": {"train.parquet": parquet(LONG, rows=50)}}) as hub:
        question = ("draw", {"name": "org/long", "buffer": 2, "data_files": ["train.parquet"]})
        assert len(asked(hub.endpoint, question)[0]) == 5
        assert hub.sent < sum(map(len, LONG)) / 2


def test_without_a_network_it_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        answer = asked(endpoint, ("describe", {"name": "org/web"}))[0]
    assert "cannot reach the hub for dataset org/web" in answer
    assert "\n" not in answer


def test_files_are_found_by_config_and_split_where_datasets_keep_them():
    names = ["README.md", "data/train-0.parquet", "data/train-1.parquet", "de/train/0.parquet", "test.jsonl"]
    assert _chosen(names, [], None, "train") == names[1:3]
    assert _chosen(names, [], "de", "train") == names[3:4]
    assert _chosen(names, [], None, "test") == names[4:]
    assert _chosen(names, ["*.parquet"], None, "train") == names[1:4]
    assert _chosen(names, [], None, "validation") == []
