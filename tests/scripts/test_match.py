"""Matching without a model, as a user runs it."""

import csv

import pytest

from sae_match import Matching, load_sae, match, open_run
from sae_match.matching.significance.result import Significance
from sae_match.saes.formats import gemma_scope
from tests import programs
from tests.conftest import ROOT, random_sae
from tests.scripts.as_a_user import assert_refused, run

HEAVY = ("lightning", "transformers", "wandb", "datasets", "matplotlib")


@pytest.fixture
def saes(tmp_path):
    """Overrides for three tiny SAEs of one's own."""
    for layer in range(3):
        gemma_scope.save(random_sae(layer, d_sae=16), tmp_path / "saes", layer=layer, width="16", l0=5)
    which = (f"+sae.layers.{layer}={{width: '16', l0: 5}}" for layer in range(3))
    return ("sae=gemma_scope", "sae.source=saes", *which, "cache_dir=cache")


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_it_starts_without_frameworks_for_models_and_text():
    statement = (
        f"import runpy, sys; runpy.run_path({str(ROOT / 'scripts' / 'match.py')!r}); "
        f"print(*sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})))"
    )
    done = programs.run("-c", statement, fresh=True)
    assert (done.returncode, done.stdout.split()) == (0, [])


def test_adjacent_layers_of_the_bundled_model(tmp_path):
    done = run("match.py", "hydra.run.dir=out", "cache_dir=cache", folder=tmp_path)
    rows = rows_of(tmp_path / "out" / "matchings.csv")
    assert [(row["source_layer"], row["target_layer"]) for row in rows] == [(str(t), str(t + 1)) for t in range(7)]
    assert all(row["pairs"] == "1024" and float(row["gap"]) <= 1e-6 for row in rows)
    files = sorted(file.name for file in (tmp_path / "out" / "matchings").iterdir())
    assert files == [f"L0{t}-L0{t + 1}.safetensors" for t in range(7)]
    assert not (tmp_path / "out" / "composition.csv").exists()
    assert "3 → 4" in done.stdout
    # By default it says which pairs are matches.
    assert all(0.7 < float(row["significant_low"]) < float(row["significant"]) < 0.92 for row in rows)
    assert sorted(file.name for file in (tmp_path / "out" / "significance").iterdir()) == files
    found = open_run(tmp_path / "out")
    assert found.layer_pairs == [(t, t + 1) for t in range(7)]
    assert found.path(3, 123)["feature"].tolist()[3:6] == [123, 352, 687]
    judged = Significance.load(tmp_path / "out" / "significance" / "L03-L04.safetensors")
    for row in found.pairs(3, 4, best=10, worst=10).to_dict("records"):
        assert row["q"] == float(judged.q[row["source_feature"]])
        assert row["target_feature"] == judged.matching[row["source_feature"]]
    assert "Cosines of the pairs, as quantiles" in done.stdout


def test_all_pairs_of_ones_own_saes_and_chains_against_direct_matchings(tmp_path, saes):
    done = run("match.py", *saes, "pairs=all", "hydra.run.dir=out", folder=tmp_path)
    first, second, direct = (
        Matching.load(tmp_path / "out" / "matchings" / f"{name}.safetensors")
        for name in ("L00-L01", "L01-L02", "L00-L02")
    )
    source, target = (
        load_sae("gemma_scope", str(tmp_path / "saes"), layer=layer, width="16", l0=5) for layer in (0, 2)
    )
    assert direct.permutation.equal(match(source, target).permutation)
    assert direct.provenance["target_file"] == "saes layer=2 {'width': '16', 'l0': 5}"
    chain = second.permutation[first.permutation]
    by_pair = {(row["source_layer"], row["target_layer"]): row for row in rows_of(tmp_path / "out" / "composition.csv")}
    assert len(by_pair) == 3
    row = by_pair["0", "2"]
    assert row["distance"] == "2"
    assert float(row["agreement"]) == float((chain == direct.permutation).double().mean())
    assert float(row["cost_ratio"]) >= 1.0
    assert float(by_pair["0", "1"]["cost_ratio"]) == 1.0
    assert "agreement" in done.stdout


def test_with_random_targets_it_says_what_is_truly_matched(tmp_path, saes):
    done = run("match.py", *saes, "rotations=2", "hydra.run.dir=out", folder=tmp_path)
    assert "Features that are truly matched" in done.stdout
    rows = rows_of(tmp_path / "out" / "matchings.csv")
    assert [row["significant"] for row in rows] == ["0.0", "0.0"]
    judged = Significance.load(tmp_path / "out" / "significance" / "L00-L01.safetensors")
    assert judged.evidence.rotations == 2
    assert judged.matching.permutation.equal(Matching.load(tmp_path / "out/matchings/L00-L01.safetensors").permutation)
    # Two matchings; for each two random targets, and two matchings by parts.
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 10
    (done,) = {run("match.py", *saes, "rotations=0", "hydra.run.dir=none", folder=tmp_path).stdout}
    assert "Features that are truly matched" not in done
    assert not (tmp_path / "none" / "significance").exists()
    # What weights alone say of pairs is there all the same.
    pairs = open_run(tmp_path / "none").pairs(0, 1)
    assert len(pairs) == 16
    assert pairs[["encoder_cosine", "decoder_cosine", "statistic", "margin", "mutual_nearest"]].notna().all(axis=None)
    assert set(pairs["significance"]) == {"not tested"}
    assert pairs[["p", "q"]].isna().all(axis=None)


def test_a_solved_pair_comes_from_the_cache(tmp_path, saes):
    seconds = []
    for job in ("first", "second"):
        run("match.py", *saes, "pairs=[[0,2]]", "rotations=0", f"hydra.run.dir={job}", folder=tmp_path)
        seconds.append(rows_of(tmp_path / job / "matchings.csv")[0]["seconds"])
    assert seconds[0] == seconds[1]
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pairs=[[0,9]]"], "error: no SAE for layer 9 in saes; layers with one: 0, 1, 2"),
        (["pairs=[[-1,1]]"], "error: no SAE for layer -1 in saes; layers with one: 0, 1, 2"),
        (["pairs=neighbours"], "error: pairs must be adjacent, all or a list such as [[0,1],[2,5]], got 'neighbours'"),
        (["sae.layers.1.l0=6"], "error: SAE of layer 1: no file layer_1/width_16/average_l0_6"),
        (["matcher.fold=fold"], "error: unknown folding 'fold'; there are threshold, decoder_norm, none"),
        (["matcher.memory=1e-9"], "error: layers 0 and 1: "),
        (["rotations=-1"], "error: rotations must be at least 0, got -1"),
        (["alpha=1"], "error: alpha must lie between 0 and 1, without either, got 1.0"),
        (["alpha=0"], "error: alpha must lie between 0 and 1, without either, got 0.0"),
        (["alpha=nan"], "error: alpha must lie between 0 and 1, without either, got nan"),
    ],
)
def test_bad_input_ends_in_one_clear_line(tmp_path, saes, overrides, message):
    done = run("match.py", *saes, "hydra.run.dir=out", *overrides, folder=tmp_path, check=False)
    assert_refused(done, message)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "matchings.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "plugin"),
    [
        ("processes", "hydra_plugins.hydra_joblib_launcher"),
        pytest.param("slurm_local", "hydra_plugins.hydra_submitit_launcher", marks=pytest.mark.thorough),
    ],
)
def test_shards_run_side_by_side_each_with_a_part_of_the_memory(tmp_path, saes, launcher, plugin):
    pytest.importorskip(plugin)
    sweep = ("-m", f"hydra/launcher={launcher}", "pairs=all", "shards=2", "shard=0,1", "hydra.sweep.dir=sweep")
    run("match.py", *sweep, *saes, folder=tmp_path)
    rows = [row for job in "01" for row in rows_of(tmp_path / "sweep" / job / "matchings.csv")]
    assert {(row["source_layer"], row["target_layer"]) for row in rows} == {("0", "1"), ("0", "2"), ("1", "2")}
    for job in "01":
        assert "memory budget of a matching" in (tmp_path / "sweep" / job / "match.log").read_text()
    run("match.py", *saes, "pairs=all", "hydra.run.dir=out", folder=tmp_path)
    assert len(rows_of(tmp_path / "out" / "composition.csv")) == 3
    # Each pair's own matching, eight of random targets, and two by parts.
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 3 * (1 + 8 + 2)
