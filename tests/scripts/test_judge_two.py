"""A study of what partners in another collection mean, as a user runs it."""

import csv
import json

from tests.report.explorer.made_up import received, unpacked
from tests.scripts.as_a_user import PLAIN, assert_refused, run

SEEDS = ("sae=bundled", "target=bundled_seed_100", "logger=none", "cache_dir=cache/matchings")
SMALL = ("text.documents=6", "study.paths=12", "study.rotations=1", "study.of_each_class=6")
NAMES = ("saes", "saes_seed_100")


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_partners_in_another_seed_mean_more_than_random_features_and_the_page_shows_it(tmp_path):
    few = ("text.documents=2", "text.max_tokens=64", "evaluation.arms=[matched]", "evaluation.rotations=0")
    run("validate.py", *SEEDS, *few, PLAIN, "hydra.run.dir=validated", folder=tmp_path)
    done = run("judge.py", *SEEDS, *SMALL, "page=validated", "hydra.run.dir=judged", folder=tmp_path)
    assert "What token_overlap says of two collections" in done.stdout
    rows = rows_of(tmp_path / "judged" / "judgements.csv")
    assert {(row["source_collection"], row["target_collection"]) for row in rows} == {NAMES}
    assert {(row["source_layer"], row["target_layer"]) for row in rows} == {("3", "3"), ("4", "4")}
    score = {arm: [float(row["score"]) for row in rows if row["arm"] == arm and row["score"]] for arm in ARMS}
    assert set(score["identical"]) == {3.0}
    assert sum(score["matched"]) / len(score["matched"]) > sum(score["random"]) / len(score["random"])
    results = rows_of(tmp_path / "judged" / "results.csv")
    assert {(row["source_collection"], row["target_collection"]) for row in results} == {NAMES}
    # What a feature is shown by is that of its own collection: partners of other numbers, identical ones of the same.
    for row in rows:
        if row["arm"] == "identical":
            assert row["source_description"] == row["target_description"]
    page = tmp_path / "validated" / "report" / "data"
    said = json.loads(unpacked(page / "judgements.js"))
    there = {layer["layer"] for layer in received(page / "index.js")["layers"]}
    assert (
        {name for pair in said["pairs"] for name in (pair[1], pair[3])}
        == there
        == {f"{layer}@{name}" for layer in (3, 4) for name in NAMES}
    )


ARMS = ("identical", "matched", "nearest", "random")


def test_what_cannot_be_asked_is_refused_in_a_line(tmp_path):
    for overrides, message in (
        (("pairs=[[3,9]]",), "target: no SAE for layer 9"),
        (("target=bundled",), "sae and target are the same collection"),
    ):
        assert_refused(run("judge.py", *SEEDS, *SMALL, *overrides, folder=tmp_path, check=False), message)
    alone = run("judge.py", "sae=bundled", "logger=none", *SMALL, "pairs=[[3,3]]", folder=tmp_path, check=False)
    assert_refused(alone, "pairs are of two collections")
