"""Two collections matched from the weights alone, as a user does it."""

import csv
from collections import Counter

from sae_match import Matching, open_run
from sae_match.matching.relations.kinds import KINDS, MERGE, SPLIT
from sae_match.matching.relations.result import Relations
from sae_match.saes.formats import gemma_scope
from tests.conftest import random_sae
from tests.scripts.as_a_user import assert_refused, run

QUICKLY = ("cache_dir=cache", "rotations=0", "hydra.run.dir=out")


def test_two_seeds_are_matched_layer_by_layer_and_named(tmp_path):
    done = run("match.py", "sae=bundled", "target=bundled_seed_100", *QUICKLY, folder=tmp_path)
    with (tmp_path / "out" / "matchings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source_layer"], row["target_layer"]) for row in rows] == [("3", "3"), ("4", "4")]
    assert {(row["source_collection"], row["target_collection"]) for row in rows} == {("saes", "saes_seed_100")}
    names = sorted(file.name for file in (tmp_path / "out" / "matchings").iterdir())
    assert names == [f"L0{layer}@saes-L0{layer}@saes_seed_100.safetensors" for layer in (3, 4)]
    assert "From saes to saes_seed_100, 2 pairs of layers" in done.stdout
    assert "left out: layers 0, 1, 2, 5, 6, 7 of saes" in done.stdout
    assert not (tmp_path / "out" / "unmatched.csv").exists()
    found = open_run(tmp_path / "out")
    assert found.layers == ["3@saes", "4@saes", "3@saes_seed_100", "4@saes_seed_100"]
    assert len(found.pairs(3, 3)) == 1024
    assert found.path("3@saes_seed_100", 7)["collection"].tolist() == ["saes", "saes_seed_100"]


def test_collections_of_one_layer_and_of_unlike_width_are_matched(tmp_path):
    for seed, (name, width) in enumerate((("narrow", 16), ("wide", 20))):
        gemma_scope.save(random_sae(seed, d_sae=width), tmp_path / name, layer=3, width=str(width), l0=5)
    given = (
        *("sae=gemma_scope", "sae.source=narrow", "+sae.layers.3={width: '16', l0: 5}"),
        *("target=gemma_scope", "target.source=wide", "+target.layers.3={width: '20', l0: 5}", "target.name=w"),
    )
    done = run("match.py", *given, *QUICKLY, folder=tmp_path)
    matching = Matching.load(tmp_path / "out" / "matchings" / "L03@narrow-L03@w.safetensors")
    with (tmp_path / "out" / "unmatched.csv").open(newline="") as file:
        left = {int(row["feature"]) for row in csv.DictReader(file)}
    assert left == set(range(20)) - set(matching.permutation.tolist())
    assert "unmatched.csv" in done.stdout


def test_what_is_no_second_collection_is_refused_in_a_line(tmp_path):
    for overrides, message in (
        (("target=bundled",), "sae and target are the same collection"),
        (("target=bundled_seed_100", "target.site=mlp"), "the source's SAEs read the site residual, the target's mlp"),
        (("target=bundled_seed_100", "pairs=[[3,3],[3,7]]"), "target: no SAE for layer 7"),
        (("target=bundled_seed_100", "pairs=[[3]]"), "a pair is two layers"),
        (("target=bundled_seed_100", "target.name=a@b"), "sae.name must be up to 40 letters"),
        (("target=seed",), "there is no target=seed; there are bundled, bundled_4k,"),
        (("target=null",), "null is no choice of a group; to choose nothing, say '~GROUP'"),
    ):
        assert_refused(run("match.py", *overrides, *QUICKLY, folder=tmp_path, check=False), message)


def test_what_became_of_features_is_told_where_that_is_asked_though_nothing_was_to_be_judged(tmp_path):
    of = ("sae=bundled_seed_100", "target=bundled_seed_200", "pairs=[[3,3]]")
    done = run("match.py", *of, "relations=true", *QUICKLY, folder=tmp_path)
    (file,) = (tmp_path / "out" / "relations").iterdir()
    found = Relations.load(file)
    assert file.name == "L03@saes_seed_100-L03@saes_seed_200.safetensors"
    assert found.evidence.rotations == 8
    line = next(line for line in done.stdout.split("What became of features")[1].splitlines() if line.startswith("3 →"))
    numbers = [int(cell.replace(",", "")) for cell in line.split()[3:]]
    assert numbers[:-1] == [found.counts[name] for name in KINDS]
    with (tmp_path / "out" / "splits.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    shown = (found.edge_kind == SPLIT) | (found.edge_kind == MERGE)
    assert len(rows) == int(shown.sum()) > 50
    assert {row["kind"] for row in rows} == {"split", "merge"}
    assert numbers[-1] == max(Counter(row["component"] for row in rows).values())
    # A second run is welcome in the same folder, whose files are known.
    again = run("match.py", *of, "relations=true", *QUICKLY, folder=tmp_path)
    assert again.returncode == 0
