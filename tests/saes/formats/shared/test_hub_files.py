import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sae_match.errors import UserError
from sae_match.saes.formats.shared.hub import SAEFile, fetch, locate
from tests.conftest import ROOT
from tests.serving import Answering, serving

COMMIT = "0" * 40
CONTENT = b"weights"
HELD = ("average_l0_22", "average_l0_71", "average_l0_139")
FOLDER = "layer_20/width_16k"
STATUS = {"gated": 403, "forbidden": 403, "secret": 401, "busy": 429, "broken": 500}
# huggingface_hub reads its address when it is imported, and waits between its own tries.
SCRIPT = """
import sys, time
time.sleep = lambda seconds: None
from sae_match.errors import UserError
from sae_match.saes.formats.shared.hub import fetch, locate
for repository, path in zip(sys.argv[1::2], sys.argv[2::2]):
    for ask in (locate, fetch):
        try:
            found = ask(repository, path)
            print(found if ask is locate else found.read_bytes())
        except UserError as error:
            print(error)
"""


class Hub(Answering):
    """As much of a hub as answers for one repository, and refuses for others."""

    def do_HEAD(self):
        repository, path = self.path.split("?")[0].strip("/").split("/", 2)[1:]
        if repository in STATUS:
            extra = {"gated": {"X-Error-Code": "GatedRepo"}, "busy": {"Retry-After": "42"}}.get(repository, {})
            self.answer(STATUS[repository], b"", extra)
        elif repository == "firts":
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif path == f"resolve/main/{FOLDER}/average_l0_71/params.npz":
            self.answer(200, CONTENT, {"ETag": '"abc"'})
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def do_GET(self):
        if not self.path.startswith("/api/"):
            self.do_HEAD()
        elif self.path.split("?")[0].endswith(f"/tree/main/{FOLDER.replace('/', '%2F')}") or FOLDER in self.path:
            if "average_l0" in self.path:
                self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            entries = ",".join(f'{{"type": "directory", "oid": "0", "path": "{FOLDER}/{name}"}}' for name in HELD)
            self.answer(200, f"[{entries}]".encode(), {"Content-Type": "application/json"})
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def answer(self, status, body, headers=None, size=None):
        super().answer(status, body, {"X-Repo-Commit": COMMIT, **(headers or {})}, size)


@pytest.fixture(scope="module")
def hub():
    with serving(Hub) as address:
        yield address


def asked(endpoint, cache, *questions, folder=None):
    """What `locate` and `fetch` print for each repository and path, against a server; `folder` is where it runs."""
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "", "NO_PROXY": "127.0.0.1"}
    places = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "PYTHONPATH": str(ROOT / "src")}
    environment = {**os.environ, **places, **quiet}
    flat = [part for question in questions for part in question]
    command = [sys.executable, "-c", SCRIPT, *flat]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True, cwd=folder)
    return run.stdout.splitlines()


def test_a_file_of_the_hub_is_described_then_fetched_then_local(hub, tmp_path):
    path = f"{FOLDER}/average_l0_71/params.npz"
    described, content, again, _ = asked(hub, tmp_path, ("o/r", path), ("o/r", path))
    assert described == f"SAEFile(path='{path}', bytes=7, is_local=False)"
    assert content == str(CONTENT)
    assert again == f"SAEFile(path='{path}', bytes=7, is_local=True)"


def test_a_missing_file_of_the_hub_says_what_there_is(hub, tmp_path):
    lines = asked(hub, tmp_path, ("o/r", f"{FOLDER}/average_l0_73/params.npz"))
    expected = (
        f"repository o/r has no file {FOLDER}/average_l0_73/params.npz; {FOLDER} holds {', '.join(HELD)}; "
        "the nearest to average_l0_73 is average_l0_71"
    )
    assert lines == [expected, expected]


def test_every_refusal_is_one_line_with_its_remedy_and_leaves_no_file(hub, tmp_path):
    names = list(STATUS)
    lines = asked(hub, tmp_path, *((f"o/{name}", "params.npz") for name in names))
    expected = {
        "gated": "is gated: accept its terms",
        "forbidden": "the hub does not let you in (403)",
        "secret": "log in with `hf auth login`",
        "busy": "too many requests from here (429); try again in 42 s",
        "broken": "the hub is in trouble (500); try again later",
    }
    assert len(lines) == 2 * len(names)
    for name, described, fetched in zip(names, lines[::2], lines[1::2], strict=True):
        for line in (described, fetched):
            assert f"o/{name}" in line
            assert expected[name] in line
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.parent.name in ("blobs", COMMIT)]


def test_a_folder_named_like_an_owner_keeps_no_repository_away(hub, tmp_path):
    """And whoever misspelt a folder is told so, beside what the hub says."""
    (tmp_path / "saes").mkdir()
    path = f"{FOLDER}/average_l0_71/params.npz"
    described, content, misspelt, _ = asked(hub, tmp_path, ("saes/r", path), ("saes/firts", path), folder=tmp_path)
    assert described == f"SAEFile(path='{path}', bytes=7, is_local=False)"
    assert content == str(CONTENT)
    assert misspelt.startswith("no repository saes/firts/")
    assert misspelt.endswith("; saes/firts is neither a folder nor a repository: the folder saes here holds no firts")
    for line in asked("http://127.0.0.1:9", tmp_path, ("saes/firts", "params.npz"), folder=tmp_path):
        assert line.startswith("cannot reach the hub for saes/firts/params.npz")
        assert line.endswith("; the folder saes here holds no firts either")


def test_a_dead_port_is_named(tmp_path):
    for line in asked("http://127.0.0.1:9", tmp_path, ("o/r", "params.npz")):
        assert line.startswith("cannot reach the hub for o/r/params.npz")


def test_a_local_file_is_described(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.npz").write_bytes(CONTENT)
    assert locate(str(tmp_path), "a/b.npz") == SAEFile("a/b.npz", 7, is_local=True)
    assert fetch(str(tmp_path), "a/b.npz") == Path(tmp_path / "a" / "b.npz")


@pytest.mark.parametrize("ask", [fetch, locate])
def test_a_missing_local_file_offers_the_nearest_number(tmp_path, ask):
    for name in ("layer_2", "layer_9", "layer_10"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"holds layer_2, layer_9, layer_10; the nearest to layer_12 is layer_10$"):
        ask(str(tmp_path), "layer_12/params.npz")
    with pytest.raises(UserError, match=r"holds layer_2, layer_9, layer_10$"):
        ask(str(tmp_path), "embedding/params.npz")
    with pytest.raises(UserError, match=r"layer_9 holds nothing$"):
        ask(str(tmp_path), "layer_9/params.npz")


@pytest.mark.parametrize("source", ["a/b/c", "/no/such/folder", "owner/bad name"])
def test_a_source_that_can_be_no_repository_is_refused(source):
    with pytest.raises(UserError, match="neither a folder nor"):
        locate(source, "params.npz")


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts content into a cache of the hub under a name, as a file of `o/r`."""

    def put(content, name):
        blob = tmp_path / "models--o--r" / "blobs" / name
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = tmp_path / "models--o--r" / "snapshots" / COMMIT / "params.npz"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
        monkeypatch.setattr("sae_match.saes.formats.shared.hub.hf_hub_download", lambda *_, **__: str(link))
        return blob

    return put


SHA_256 = hashlib.sha256(CONTENT).hexdigest()
# What `printf weights | git hash-object --stdin` prints.
OF_GIT = "3ab313fff6f41bb35969cd359e9ddfb8033b3ac2"


@pytest.mark.parametrize("name", [SHA_256, OF_GIT, "abc", '"abc"'])
def test_a_file_that_is_what_the_hub_names_is_read(cached, name):
    cached(CONTENT, name)
    assert fetch("o/r", "params.npz").read_bytes() == CONTENT


@pytest.mark.parametrize("name", [SHA_256, OF_GIT])
def test_a_file_of_the_cache_that_was_damaged_is_refused(cached, name):
    blob = cached(CONTENT, name)
    assert fetch("o/r", "params.npz").read_bytes() == CONTENT
    blob.write_bytes(b"weightz")
    os.utime(blob, ns=(0, 0))
    with pytest.raises(UserError, match=rf"blobs/{name} is damaged \(its checksum is not the one that the hub names\)"):
        fetch("o/r", "params.npz")
