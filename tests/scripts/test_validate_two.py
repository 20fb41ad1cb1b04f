"""Two collections validated on one model, as a user does it: what is left, and what a comparison makes of it."""

import csv

import pyarrow.parquet as pq
import pytest

from sae_match import open_run
from tests.report.explorer.made_up import received
from tests.scripts.as_a_user import FAST, assert_refused, run

ARMS = "[reconstruct_target,matched,layer_drop,linear_map_sae]"
GIVEN = (*FAST, "logger=none", "evaluation.rotations=1", f"evaluation.arms={ARMS}", "sae=bundled", "cache_dir=cache")
SEEDS = "target=bundled_seed_100"


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The other seed, and SAEs of another L0 of one layer, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("two")
    run("validate.py", *GIVEN, SEEDS, "pairs=[[3,3],[3,4],[4,4]]", "hydra.run.dir=out/seeds", folder=folder)
    sparser = ("target=bundled_sparsity", "target.layers.3.l0=3", "pairs=[[3,3]]")
    run("validate.py", *GIVEN, *sparser, "hydra.run.dir=out/sparser", folder=folder)
    return folder


def test_everything_that_is_written_is_called_by_both_collections(folder):
    at = folder / "out" / "seeds"
    names = [f"L0{source}@saes-L0{target}@saes_seed_100" for source, target in ((3, 3), (3, 4), (4, 4))]
    for kind in ("matchings", "significance", "pairs"):
        assert sorted(file.stem for file in (at / kind).iterdir()) == names
    ends = [f"L0{layer}@{name}" for layer in (3, 4) for name in ("saes", "saes_seed_100")]
    assert sorted(file.stem for file in (at / "features").iterdir()) == ends
    rows = rows_of(at / "results.csv")
    assert {(row["source_collection"], row["target_collection"]) for row in rows} == {("saes", "saes_seed_100")}
    assert {row["metric"] for row in rows if row["dataset"] == "weights"} > {"significant_share", "mse_W_dec"}
    # Features of one SAE in each of two layers: of every row the counts are those of its own.
    table = pq.read_table(at / "pairs" / f"{names[0]}.parquet").to_pandas()
    assert not (table["source_active"] == table["target_active"]).all()
    assert {picture.stem for picture in (at / "figures").glob("*.png")} >= {
        *("explained_variance", "explained_change", "delta_loss", "significance", "pair_error", "coactivation_by_q"),
    }
    assert not (at / "figures" / "threshold_scale.png").exists()


def test_it_is_opened_as_data(folder):
    found = open_run(folder / "out" / "seeds")
    of = {name: found.features(f"3@{name}") for name in ("saes", "saes_seed_100")}
    assert {name: set(table["collection"]) for name, table in of.items()} == {name: {name} for name in of}
    for row in found.pairs(3, 3, best=10, worst=10).to_dict("records"):
        assert row["source_label"] == of["saes"]["label"][row["source_feature"]]
        assert row["target_label"] == of["saes_seed_100"]["label"][row["target_feature"]]
        assert row["source_active_prose"] == of["saes"]["active_prose"][row["source_feature"]]
    assert len(found.results) == len(rows_of(folder / "out" / "seeds" / "results.csv"))


def test_arms_between_layers_are_measured_between_layers_only(folder):
    rows = rows_of(folder / "out" / "seeds" / "results.csv")
    for arm in ("layer_drop", "linear_map_sae"):
        assert {(row["source_layer"], row["target_layer"]) for row in rows if row["arm"] == arm} == {("3", "4")}
    own = rows_of(folder / "out" / "sparser" / "results.csv")
    assert {row["arm"] for row in own} == {"clean", "reconstruct_source", "reconstruct_target", "matched"}


def test_the_page_shows_each_layer_beside_its_partner(folder):
    index = received(folder / "out" / "seeds" / "report" / "data" / "index.js")
    layers = [(layer["layer"], layer["step"]) for layer in index["layers"]]
    of = ("saes", "saes_seed_100")
    assert layers == [(f"{layer}@{name}", name == of[0]) for layer in (3, 4) for name in of]
    assert dict(index["facts"])["not shown"] == "3→4"
    assert dict(index["facts"])["SAEs"].startswith("saes → saes_seed_100")


def test_runs_are_compared_by_their_targets(folder):
    done = run("report.py", "runs=out", "hydra.run.dir=compared", "logger=none", folder=folder)
    assert "the same layer in both collections" in done.stdout
    rows = rows_of(folder / "compared" / "comparison_by_layer.csv")
    assert {row["target_collection"] for row in rows} == {"saes_seed_100", "saes_sparsity"}
    assert {row["target"] for row in rows_of(folder / "compared" / "comparison.csv") if "target" in row} <= {
        "bundled_seed_100",
        "bundled_sparsity",
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("target=bundled",), "sae and target are the same collection"),
        ((SEEDS, "pairs=[[4,3]]"), "a pair goes from a layer to the same layer or a later one, got [4,3] in pairs"),
        ((SEEDS, "pairs=[[3,7]]"), "target: no SAE for layer 7"),
        ((SEEDS, "evaluation.spans=[2]"), "evaluation.spans are distances in one collection"),
        ((SEEDS, "evaluation.arms=[linear_map]"), "arms linear_map say nothing of two collections on the same layer"),
    ],
)
def test_what_cannot_be_validated_is_refused_in_a_line(tmp_path, overrides, message):
    done = run("validate.py", *GIVEN, *overrides, "hydra.run.dir=out", folder=tmp_path, check=False)
    assert_refused(done, message)


def test_the_plain_cut_is_said_beside_what_is_found_again(folder):
    at = folder / "out" / "seeds"
    for row in rows_of(at / "results.csv"):
        if row["metric"] == "plain_cut_share":
            name = f"L0{row['source_layer']}@saes-L0{row['target_layer']}@saes_seed_100.parquet"
            table = pq.read_table(at / "pairs" / name).to_pandas()
            statistic = table[table["dataset"] == table["dataset"][0]]["statistic"]
            assert float(row["value"]) == pytest.approx((statistic >= 0.7).mean())
            assert float(row["low"]) < float(row["value"]) < float(row["high"]) < 0.8
    assert "plain_cut_share" in (at / "spans.csv").read_text()


def test_the_question_about_seeds_is_answered_by_one_command(tmp_path):
    told = ("experiment=seeds", *FAST, "logger=none", "evaluation.rotations=1", "hydra.run.dir=out", "cache_dir=cache")
    done = run("validate.py", *told, folder=tmp_path)
    said = " ".join(done.stdout.split())
    assert "are found again in the other collection, by a partner that is better than chance at 5%" in said
    assert "By a plain cut, a mean of encoder's and decoder's cosine of at least 0.7, it would be" in said
