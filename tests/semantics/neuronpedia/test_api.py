"""The API and a folder; the export has tests of its own."""

import json
import logging
import time

import pytest

from sae_match.errors import UserError
from sae_match.semantics.neuronpedia.api import FromAPI, api_client, checked_name, from_folder, host_of
from sae_match.semantics.neuronpedia.explanations import Explanation
from sae_match.semantics.neuronpedia.polite import Manners
from tests.programs import Running
from tests.semantics.mini_neuronpedia import FOLDER, MODEL, SOURCE, MiniNeuronpedia, export, lines, row

QUICK = Manners(timeout=0.5, tries=3, back_off=0.01)
# Another process on the same cache.
SCRIPT = f"""
import sys
from pathlib import Path
from sae_match.semantics.neuronpedia.api import FromAPI, api_client
from sae_match.semantics.neuronpedia.polite import Manners
address, cache = sys.argv[1], Path(sys.argv[2])
source = FromAPI(api_client(cache, address, Manners(), 3600.0), address, cache, {MODEL!r}, {SOURCE!r})
print([source.of(number)[0].text for number in range(20)])
"""


def api(server, cache):
    client = api_client(cache, server.address, QUICK, 1e9, "NEURONPEDIA_API_KEY")
    return FromAPI(client, server.address, cache, MODEL, SOURCE)


def path(feature):
    return f"/api/feature/{MODEL}/{SOURCE}/{feature}"


def feature(number, *rows):
    """The answer of the API, with some of what else is in it."""
    return {"modelId": MODEL, "layer": SOURCE, "index": str(number), "explanations": list(rows), "pos_str": [" ship"]}


def known(*numbers):
    return {f"{MODEL}/{SOURCE}/{n}": feature(n, row(n, f"what {n} means")) for n in numbers}


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("NEURONPEDIA_API_KEY", raising=False)


def test_each_feature_is_asked_for_once_and_kept(tmp_path):
    with MiniNeuronpedia(features=known(5, 10956)) as server:
        for _ in range(2):
            source = api(server, tmp_path)
            for _ in range(2):
                assert [found.text for found in source.of(10956)] == ["what 10956 means"]
                assert [found.text for found in source.of(5)] == ["what 5 means"]
        assert server.asked == [path(10956), path(5)]
        assert "x-api-key" not in server.headers[0]


@pytest.mark.parametrize("absent", [(200, {}, b"null"), (404, {}, b"{}"), (200, {}, b'{"explanations": []}')])
def test_what_there_is_not_is_not_asked_for_again(tmp_path, absent):
    with MiniNeuronpedia(trouble={path(7): [absent]}) as server:
        assert api(server, tmp_path).of(7) == []
        assert api(server, tmp_path).of(7) == []
        assert server.asked == [path(7)]


def test_all_of_an_explanation_is_kept(tmp_path):
    rows = [row(7, "船"), row(7, None, id="b"), row(7, "z", id="c", scores=[{"value": 0.5}])]
    with MiniNeuronpedia(features={f"{MODEL}/{SOURCE}/7": feature(7, *rows)}) as server:
        asked = api(server, tmp_path).of(7)
        assert asked == api(server, tmp_path).of(7)
    assert [(found.text, found.score) for found in asked] == [("船", None), ("", None), ("z", 0.5)]


def test_a_key_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURONPEDIA_API_KEY", " sk-np-secret\n")
    with MiniNeuronpedia(features=known(5)) as server:
        api(server, tmp_path).of(5)
        assert server.headers[0]["x-api-key"] == "sk-np-secret"
    assert "secret" not in "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())


def test_neuronpedias_key_goes_to_no_other_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURONPEDIA_API_KEY", "sk-np-secret")
    with MiniNeuronpedia(features=known(5)) as server:
        client = api_client(tmp_path, server.address, QUICK, 1e9)
        FromAPI(client, server.address, tmp_path, MODEL, SOURCE).of(5)
        assert "x-api-key" not in server.headers[0]
    assert api_client(tmp_path, "https://www.neuronpedia.org", QUICK, 1.0).key.value == "sk-np-secret"


def test_a_server_that_repeats_the_key_does_not_get_it_into_descriptions(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURONPEDIA_API_KEY", "sk-np-secret")
    with MiniNeuronpedia(features={f"{MODEL}/{SOURCE}/7": feature(7, row(7, "it is sk-np-secret"))}) as server:
        assert [found.text for found in api(server, tmp_path).of(7)] == ["it is [key]"]
    assert "sk-np" not in "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_and_a_missing_one_are_told_apart(tmp_path, monkeypatch, status):
    with MiniNeuronpedia(trouble={path(5): [(status, {}, b"{}")] * 2}) as server:
        with pytest.raises(UserError, match=rf"{path(5)}: the server refuses, .*: set NEURONPEDIA_API_KEY; keys"):
            api(server, tmp_path).of(5)
        monkeypatch.setenv("NEURONPEDIA_API_KEY", "wrong")
        with pytest.raises(UserError, match="NEURONPEDIA_API_KEY holds a key that it does not take") as error:
            api(server, tmp_path).of(5)
        assert "wrong" not in str(error.value)
        assert len(server.asked) == 2


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\x07b"])
def test_what_can_be_no_key_is_not_sent(tmp_path, monkeypatch, key):
    monkeypatch.setenv("NEURONPEDIA_API_KEY", key)
    with pytest.raises(UserError, match="NEURONPEDIA_API_KEY holds no key") as error:
        api_client(tmp_path, "https://www.neuronpedia.org", QUICK, 1.0)
    assert key not in str(error.value)


@pytest.mark.parametrize("garbage", [b"<html>", b"", b"[1]", b'{"explanations": 3}'])
def test_garbage_is_asked_for_again_and_never_kept(tmp_path, garbage):
    with MiniNeuronpedia(features=known(5), trouble={path(5): [(200, {}, garbage)] * 4}) as server:
        with pytest.raises(UserError, match=rf"{path(5)}.* \(after 3 tries\)"):
            api(server, tmp_path).of(5)
        assert not list(tmp_path.rglob("5.json"))
        assert [found.text for found in api(server, tmp_path).of(5)] == ["what 5 means"]
        assert len(server.asked) == 5


def test_what_was_answered_before_an_interruption_is_not_asked_again(tmp_path):
    busy = [(429, {"Retry-After": "3600"}, b"")]
    with MiniNeuronpedia(features=known(*range(6)), trouble={path(3): busy}) as server:
        source = api(server, tmp_path)
        with pytest.raises(UserError, match="try again in 3600 s: what was answered is kept"):
            [source.of(number) for number in range(6)]
        again = api(server, tmp_path)
        assert [again.of(number)[0].feature for number in range(6)] == list(range(6))
        assert server.asked == [path(number) for number in (0, 1, 2, 3, 3, 4, 5)]
    assert not [file for file in tmp_path.rglob(".*") if file.is_file()]


def test_a_kept_answer_that_is_damaged_is_asked_for_again(tmp_path, caplog):
    with MiniNeuronpedia(features=known(5)) as server:
        api(server, tmp_path).of(5)
        (file,) = tmp_path.rglob("5.json")
        for damage in ("", "[]", "{}", '{"explanations": [{"colour": "red"}]}'):
            file.write_text(damage)
            assert [found.text for found in api(server, tmp_path).of(5)] == ["what 5 means"]
        assert len(server.asked) == 5
    assert "5.json cannot be used" in caplog.text


def test_two_processes_share_answers_and_pace(tmp_path):
    start = time.time()
    with MiniNeuronpedia(features=known(*range(20)), delay=0.05) as server:
        both = [Running(["-c", SCRIPT, server.address, tmp_path]) for _ in range(2)]
        said = [running.communicate(timeout=120)[0] for running in both]
        assert sorted(server.asked) == sorted(path(number) for number in range(20))
    assert said == [f"{[f'what {number} means' for number in range(20)]}\n"] * 2
    # At one a second, the first twenty may come at once; each, whoever made it, puts later ones off by a second.
    (pace,) = tmp_path.rglob("pace")
    assert start + 20 <= float(pace.read_text()) <= time.time() + 20


def test_a_source_of_which_nothing_is_known_is_said_aloud_once(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with MiniNeuronpedia() as server:
        source = api(server, tmp_path)
        for number in range(50):
            assert source.of(number) == []
    assert caplog.text.count("no explanation of 20 features in a row; is it in sae.neuronpedia?") == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / MODEL).write_text("a file where a folder should be")
    with MiniNeuronpedia(features=known(5)) as server:
        with pytest.raises(UserError, match=r"cannot write .*; set descriptions\.cache_dir"):
            api(server, tmp_path).of(5)
        assert server.asked == []


@pytest.mark.parametrize("version", ["v1/", ""])
def test_a_folder_with_files_of_the_export(tmp_path, version):
    for name, body in export(30).items():
        file = tmp_path / version / name.removeprefix("v1/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    other = tmp_path / version / FOLDER.removeprefix("v1/") / "explanations-gpt-4o" / "batch-0.jsonl"
    other.parent.mkdir()
    other.write_text(json.dumps(row(3, "by another", explanationModelName="gpt-4o", id="z")))
    (other.parent / "notes.txt").write_text("not a batch")
    found = from_folder(tmp_path, MODEL, SOURCE)
    assert [entry.text for entry in found.of(3)] == ["what 3 means", "by another"]
    assert found.of(29) == [Explanation(29, "clx000029", "what 29 means", "gpt-4o-mini", "oai_token-act-pair")]
    assert found.of(30) == []


def test_a_folder_without_the_source_says_what_there_should_be(tmp_path):
    with pytest.raises(
        UserError, match=rf"no explanations of {MODEL}/{SOURCE} in .*: there should be .*/batch-0.jsonl"
    ):
        from_folder(tmp_path, MODEL, SOURCE)
    file = tmp_path / FOLDER / "explanations" / "batch-0.jsonl.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(lines([row(3, "x")])[:-9])
    with pytest.raises(UserError, match=r"batch-0\.jsonl\.gz is damaged or cut off"):
        from_folder(tmp_path, MODEL, SOURCE)


@pytest.mark.parametrize("name", ["", "..", "a/b", "../secret", "a b", "a?b", "-a", "ä"])
def test_what_can_be_no_name_is_refused(name):
    with pytest.raises(UserError, match="is no source of Neuronpedia"):
        checked_name("source", name)


def test_addresses_become_folders():
    assert host_of("https://www.neuronpedia.org/") == "www.neuronpedia.org"
    assert host_of("http://127.0.0.1:80/a b/..") == "127.0.0.1_80_a_b_.."
    for address in ("www.neuronpedia.org", "file:///etc", "", "https://"):
        with pytest.raises(UserError, match="is no address"):
            host_of(address)
