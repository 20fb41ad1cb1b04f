import os
import signal
import time

import pytest

from sae_match.errors import UserError
from sae_match.semantics.neuronpedia.export import Export
from sae_match.semantics.neuronpedia.polite import Manners, PoliteClient
from tests.programs import Running
from tests.semantics.mini_neuronpedia import FOLDER, MODEL, SOURCE, MiniNeuronpedia, export, lines, row

QUICK = Manners(timeout=0.5, tries=3, back_off=0.01)
# Another process on the same cache; it prints the descriptions of all features.
SCRIPT = f"""
import sys
from pathlib import Path
from sae_match.errors import UserError
from sae_match.semantics.neuronpedia.export import Export
from sae_match.semantics.neuronpedia.polite import Manners, PoliteClient
bucket = Export(PoliteClient(Manners(timeout=10.0, tries=2, back_off=0.01)), sys.argv[1], Path(sys.argv[2]))
try:
    found = bucket.explanations({MODEL!r}, {SOURCE!r}, lambda what, done, total: print(what, done, total, flush=True))
    print(*(found.of(feature)[0].text for feature in range(int(sys.argv[3]))), sep=", ")
except UserError as error:
    print("error:", error)
"""


def batch(number):
    return f"/{FOLDER}/explanations/batch-{number}.jsonl.gz"


def fetched(server, cache, watch=lambda *_: None, manners=QUICK, model=MODEL, source=SOURCE):
    return Export(PoliteClient(manners), server.address, cache).explanations(model, source, watch)


def texts(found, features):
    return [[explanation.text for explanation in found.of(feature)] for feature in range(features)]


def meanings(features):
    return [[f"what {index} means"] for index in range(features)]


def files(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def process(server, cache, features):
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    return Running(["-c", SCRIPT, server.address, cache, features], environment=environment)


def test_all_batches_are_read_once_and_only_what_is_needed_is_kept(tmp_path):
    # Rows are ordered as text: feature 9 lies in the last file, not in the third.
    with MiniNeuronpedia(export(30)) as server:
        seen = []
        found = fetched(server, tmp_path, lambda *told: seen.append(told))
        assert texts(found, 31) == [*meanings(30), []]
        assert server.asked == ["listing", *map(batch, range(8))]
        assert seen == [(f"descriptions of {MODEL}/{SOURCE}", done, 8) for done in range(1, 9)]
        assert texts(fetched(server, tmp_path), 30) == meanings(30)
        assert len(server.asked) == 9
    assert files(tmp_path) == [f"{MODEL}/{SOURCE}/explanations.parquet"]


def test_a_listing_of_several_pages_and_several_folders(tmp_path):
    more = export(30, folder=FOLDER, explanationModelName="gpt-4o-mini-2")
    renamed = {name.replace("explanations/", "explanations-gpt-4o/"): body for name, body in more.items()}
    others = {
        f"{FOLDER}/explanations/README.md": b"not a batch",
        f"{FOLDER}/explanation-scores/batch-0.jsonl.gz": b"nor this",
        f"{FOLDER}__l0-22/explanations/batch-0.jsonl.gz": b"of another source",
    }
    with MiniNeuronpedia({**export(30), **renamed, **others}, page=3) as server:
        found = fetched(server, tmp_path)
        assert server.asked.count("listing") == 6
        assert len(server.asked) == 6 + 16
    assert {explanation.model for explanation in found.of(29)} == {"gpt-4o-mini", "gpt-4o-mini-2"}


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_where_nothing_is_listed_files_are_counted_up(tmp_path, status):
    with MiniNeuronpedia(export(30), listing=status) as server:
        assert texts(fetched(server, tmp_path), 30) == meanings(30)
        assert server.asked == ["listing", *map(batch, range(9))]
        fetched(server, tmp_path)
        assert len(server.asked) == 10


def test_a_page_for_people_is_no_listing(tmp_path):
    for page in (b"<html><p>Files", b"<html><body>Files</body></html>", b"", b"{}"):
        with MiniNeuronpedia(export(6), trouble={"listing": [(200, {}, page)]}) as server:
            assert texts(fetched(server, tmp_path / str(len(page))), 6) == meanings(6)


def test_a_listing_that_goes_in_a_circle_is_refused(tmp_path):
    page = b"<ListBucketResult><NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
    trouble = {"listing": [(200, {}, page)] * 9}
    with MiniNeuronpedia(export(6), trouble=trouble) as server, pytest.raises(UserError, match="in a circle"):
        fetched(server, tmp_path)


def test_a_source_without_an_export_is_nothing_and_may_come_later(tmp_path):
    with MiniNeuronpedia(export(6)) as server:
        for source in ("99-gemmascope-res-16k", "20-gemmascope-res"):
            assert fetched(server, tmp_path, source=source) is None
        server.listing = 403
        assert fetched(server, tmp_path, source="98-gemmascope-res-16k") is None
        assert server.asked[:-1] == ["listing"] * 3
        server.listing = 200
        server.files.update(export(6, folder=f"v1/{MODEL}/98-gemmascope-res-16k", layer="98-gemmascope-res-16k"))
        found = fetched(server, tmp_path, source="98-gemmascope-res-16k")
        assert texts(found, 6) == meanings(6)


def test_files_without_rows_are_no_reason_to_ask_again(tmp_path):
    with MiniNeuronpedia({batch(0)[1:]: lines([])}) as server:
        assert fetched(server, tmp_path).of(0) == []
        assert fetched(server, tmp_path).of(0) == []
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lines([row(1, "x" * 999)])[:-9], "is damaged or cut off"),
        (b"\x1f\x8b garbage", "is damaged or cut off"),
        (b"<html>be right back</html>", r"batch-2.jsonl.gz, line 1: no JSON \(Expecting value\)"),
        (lines([row(1, "x"), {"colour": "red"}]), "line 2 has no 'description'; there are 'colour'"),
        (lines([row(1, "x", modelId="gpt2-small")]), "line 1 is of modelId 'gpt2-small', not 'gemma-2-2b'"),
    ],
)
def test_a_damaged_file_is_asked_for_again_and_never_kept(tmp_path, body, message):
    with MiniNeuronpedia(export(30), trouble={batch(2): [(200, {}, body)] * 4}) as server:
        with pytest.raises(UserError, match=rf"{message}.* \(after 3 tries\)"):
            fetched(server, tmp_path)
        assert len([name for name in files(tmp_path) if "batch-" in name]) == 2
        assert texts(fetched(server, tmp_path), 30) == meanings(30)
        # The first two are there, the third was asked for five times; the listing is not asked for again.
        assert server.asked == ["listing", *map(batch, [0, 1, 2, 2, 2, 2, 2, 3, 4, 5, 6, 7])]


def test_a_listed_file_that_is_not_there_says_what_to_do(tmp_path):
    message = r"batch-1.*not found \(404\); it was listed: remove .*batches.json to list anew"
    server = MiniNeuronpedia(export(6), trouble={batch(1): [(404, {}, b"")]})
    with server, pytest.raises(UserError, match=message):
        fetched(server, tmp_path)


def test_what_was_kept_and_is_damaged_is_fetched_again(tmp_path, caplog):
    with MiniNeuronpedia(export(6)) as server:
        fetched(server, tmp_path)
        (tmp_path / MODEL / SOURCE / "explanations.parquet").write_bytes(b"PAR1 no more")
        assert texts(fetched(server, tmp_path), 6) == meanings(6)
    assert "explanations.parquet cannot be used" in caplog.text


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / MODEL).write_text("a file where a folder should be")
    with MiniNeuronpedia(export(6)) as server, pytest.raises(UserError, match=r"cannot .*set descriptions\.cache_dir"):
        fetched(server, tmp_path)


def test_a_bucket_by_its_name(tmp_path):
    assert Export(PoliteClient(QUICK), "s3://data", tmp_path).address == "https://data.s3.amazonaws.com"


def test_two_processes_share_the_batches(tmp_path):
    with MiniNeuronpedia(export(64), delay=0.2) as server:
        both = [process(server, tmp_path, 64) for _ in range(2)]
        said = [running.communicate(timeout=120)[0].splitlines() for running in both]
        assert sorted(server.asked) == sorted(["listing", *map(batch, range(16))])
    for out in said:
        assert out[-1].split(", ") == [text for (text,) in meanings(64)]
    assert files(tmp_path) == [f"{MODEL}/{SOURCE}/explanations.parquet"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_process_loses_the_batch_at_hand(tmp_path, ending):
    # The fourth batch does not come, so that it is the one at hand.
    with MiniNeuronpedia(export(30), trouble={batch(3): [60.0]}) as server:
        running = process(server, tmp_path, 30)
        while batch(3) not in server.asked:
            time.sleep(0.02)
        running.send_signal(ending)
        running.communicate(timeout=60)
        assert server.asked == ["listing", *map(batch, range(4))]
        assert texts(fetched(server, tmp_path), 30) == meanings(30)
        assert server.asked[5:] == [batch(number) for number in range(3, 8)]
    assert files(tmp_path) == [f"{MODEL}/{SOURCE}/explanations.parquet"]


def test_a_process_waits_for_a_batch_that_another_is_at(tmp_path):
    with MiniNeuronpedia(export(4), trouble={batch(0): [1.5]}) as server:
        other = process(server, tmp_path, 4)
        while batch(0) not in server.asked:
            time.sleep(0.02)
        assert texts(fetched(server, tmp_path), 4) == meanings(4)
        assert other.communicate(timeout=60)[0].splitlines()[-1].startswith("what 0 means")
        assert server.asked == ["listing", batch(0)]
