"""The entry points as a user runs them."""

import pytest

from sae_match import Matching
from sae_match.evaluation.arm_names import ARMS, OF_TWO_MODELS
from sae_match.evaluation.statistics.forms import FORMS
from sae_match.evaluation.statistics.results import WEIGHTS, Results
from tests.scripts.as_a_user import FAST, PLAIN, assert_refused, run

QUESTIONS = ("threshold_scale", "folding_error", "pair_error", "quantiles", "paths")
# What is known of pairs by weights alone, and of classes of pairs on text.
OF_PAIRS = (
    "significant_share",
    "storey_share",
    "plain_cut_share",
    "significant_from",
    "median_cosine",
    "mutual_nearest",
    "encoder_agreement",
    "decoder_agreement",
    "terms_agreement",
)
OF_CLASSES = tuple(
    f"{measure}_{name}"
    for measure in ("jaccard", "matching_score")
    for name in ("significan", "not_significant", "fifth_")
)
QUANTILES = ("quantile_0.1", "quantile_0.5", "quantile_0.7")


@pytest.mark.slow
def test_a_whole_run_leaves_what_the_architecture_promises(tmp_path):
    done = run("validate.py", *FAST, "hydra.run.dir=out", f"cache_dir={tmp_path}/cache", folder=tmp_path)
    out = tmp_path / "out"
    forms = ("explained_variance_by_dimension", "explained_variance_normed", "loss_recovered")
    metrics = ("explained_variance", "explained_change", "delta_loss", "matching_score", *forms)
    names = (*metrics, *(f"{name}_controls" for name in metrics), "metric_agreement", *QUESTIONS, "significance")
    figures = {f"{name}.{ending}" for name in names for ending in ("png", "svg", "csv")}
    more = {"pair_error_examples.csv", "significance_by_distance.csv"}
    # On so little text there may be nothing that was active often enough.
    drawn = {file.name for file in (out / "figures").iterdir() if not file.name.startswith("coactivation_by_q")}
    assert drawn == {*figures, *more}
    assert "bundled/model" in (out / "report.html").read_text(encoding="utf-8")
    assert len(list((out / "matchings").glob("L0?-L0?.safetensors"))) == 7
    assert len(list((out / "significance").glob("L0?-L0?.safetensors"))) == 7
    assert len(list((out / "pairs").glob("L0?-L0?.parquet"))) == 7
    assert len(list((out / "features").glob("L0?.parquet"))) == 8
    assert (out / "spans.csv").read_text().startswith("span,arm,dataset,metric,value,low,high,pairs")
    assert (out / "warnings.csv").read_text().startswith("kind,where,says,do")
    # Nothing is left to go on from.
    assert list(tmp_path.glob("validations/*")) == []
    assert (out / ".hydra" / "config.yaml").is_file()
    assert len(list(out.glob("wandb/offline-run-*"))) == 1
    results = Results.load(out / "results.csv")
    assert results.distinct("source_layer") == list(range(7))
    assert {row.metric for row in results if not row.metric.startswith(OF_CLASSES)} == {
        *OF_PAIRS,
        "loss",
        "l0",
        "delta_loss",
        "explained_variance",
        "explained_change",
        "explained_variance_mse",
        "matching_score",
        "matching_score_macro",
        "necessity",
        "jaccard",
        "residual_norm",
        "dead_features",
        "extreme_tokens",
        "largest_dimension",
        "loss_recovered",
        *(f"explained_variance_{form}" for form in FORMS),
        "mse_W_enc",
        "mse_b_enc",
        "mse_W_dec",
    }
    assert {row.arm for row in results if row.dataset != WEIGHTS} == {"clean", *ARMS, *QUANTILES} - {
        "composed",
        *OF_TWO_MODELS,
    }
    # Chains of neighbours are judged by their links, at every distance.
    chains = {(row.source_layer, row.target_layer) for row in results.select(arm="composed")}
    assert chains == {(source, target) for target in range(8) for source in range(target - 1)}
    assert "What fraction of the features is truly matched, and which?" in done.stdout
    assert all(row.low <= row.high for row in results if row.low is not None)
    for dataset in ("prose", "code"):
        assert f"{dataset}: clean loss" in done.stdout
    assert done.stdout.index("Plan") < done.stdout.index("layers 0 and 1 matched") < done.stdout.index("clean loss")
    assert "wandb sync" in done.stdout
    assert "linear_map, linear_map_sae, coactivation on" in done.stdout


@pytest.mark.slow
def test_a_run_shows_no_bars_of_the_libraries(tmp_path):
    short = (*FAST, "evaluation.arms=[layer_drop]", "report.contexts=0", "logger=none")
    done = run("validate.py", *short, f"cache_dir={tmp_path}/cache", folder=tmp_path, fresh=True)
    assert done.stderr == ""


@pytest.mark.slow
def test_distances_are_composed_and_have_figures_of_their_own(tmp_path):
    arms = "evaluation.arms=[layer_drop,matched,composed]"
    short = (*FAST, "evaluation.rotations=1", "logger=none", "hydra.run.dir=out")
    overrides = (*short, "evaluation=spans", "evaluation.spans=[1,3]", arms)
    done = run("validate.py", *overrides, f"cache_dir={tmp_path}/cache", folder=tmp_path)
    results = Results.load(tmp_path / "out" / "results.csv")
    composed = {(row.source_layer, row.target_layer) for row in results.select(arm="composed", dataset="prose")}
    assert composed == {(layer, layer + 3) for layer in range(5)}
    assert (tmp_path / "out" / "figures" / "delta_loss_by_distance.png").is_file()
    assert "5 pairs of layers 3 apart" in done.stdout


@pytest.mark.slow
def test_a_sweep_gives_a_folder_and_a_wandb_run_for_each_matcher_and_solves_nothing_twice(tmp_path):
    overrides = (
        *FAST,
        "evaluation.arms=[matched,matched_unfolded,random]",
        "evaluation.rotations=1",
        PLAIN,
        "hydra.sweep.dir=sweep",
        f"cache_dir={tmp_path}/cache",
    )
    run("validate.py", "-m", "matcher=folded,unfolded", *overrides, folder=tmp_path)
    folded, unfolded = (Results.load(tmp_path / "sweep" / job / "results.csv") for job in "01")
    # Of each matcher seven pairs, and for each a random target and two matchings by parts.
    assert len(list((tmp_path / "cache").iterdir())) == 2 * 7 * (1 + 1 + 2)
    assert [len(list((tmp_path / "sweep" / job).glob("wandb/offline-run-*"))) for job in "01"] == [1, 1]
    at = {"source_layer": 3, "dataset": "prose", "metric": "explained_variance"}
    assert folded.value(**at, arm="matched_unfolded") == unfolded.value(**at, arm="matched")
    assert folded.value(**at, arm="random") == unfolded.value(**at, arm="random")
    assert folded.value(**at, arm="matched") > unfolded.value(**at, arm="matched")
    assert Matching.load(tmp_path / "sweep" / "1" / "matchings" / "L03-L04.safetensors").provenance["fold"] == "none"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["matcher=foldet"], "error: there is no matcher=foldet; did you mean folded? There are cosine, decoder_norm"),
        (
            ["matcher.fodl=none"],
            "error: there is no setting matcher.fodl; did you mean matcher.fold? There are fold, terms",
        ),
        (["evaluation.arms=[mached]"], "error: unknown arm 'mached'; did you mean matched?"),
        (["sae.layers.3.l0=99"], "error: SAE of layer 3: no file layer_3/width_1k/average_l0_99"),
        (
            ["sae.source=google/gemma-scope-2b-pt-res", "sae.layers.0.width=16k", "sae.layers.0.l0=105"],
            "error: SAE of layer 0: cannot reach the hub for google/gemma-scope-2b-pt-res/layer_0/width_16k",
        ),
        (["sae=gemma_scope_2b_canonical"], "error: an SAE is given for layer 25, the model has layers 0 to 7"),
        (["sae.format=gguf"], "error: unknown SAE format 'gguf'"),
        (["text.documents=99999"], "error: dataset 'prose': 99999 documents"),
        (["model.source=google/gemma-2-2b"], "error: cannot reach the hub for google/gemma-2-2b"),
        (["output_dir=/dev/null/out"], "error: cannot write the output folder /dev/null/out: Not a directory"),
        (["hydra.run.dir=/dev/null/out"], "error: cannot write the output folder /dev/null/out: Not a directory"),
        (["evaluation.rotations=-1"], "error: evaluation.rotations must be at least 0, got -1"),
        (["evaluation.alpha=1"], "error: evaluation.alpha must lie between 0 and 1, without either, got 1.0"),
        (["trainer.accelerator=warp"], "error: trainer settings: "),
        (["trainer.precision=16-true"], "error: trainer.precision=16-true would change what a validation measures"),
        (["trainer.precision=bf16-mixed"], "error: trainer.precision=bf16-mixed would change"),
        (["trainer.strategy=ddp_spawn"], "error: trainer.strategy=ddp_spawn is not supported: take ddp"),
    ],
)
def test_bad_input_ends_in_one_clear_line(tmp_path, overrides, message):
    done = run("validate.py", *FAST, "logger=none", "hydra.run.dir=out", *overrides, folder=tmp_path, check=False)
    assert_refused(done, message)
    assert not (tmp_path / "out" / "results.csv").exists()


@pytest.mark.slow
def test_the_benchmark_measures_a_case_and_writes_it_down(tmp_path):
    done = run("benchmark.py", "cases=[bundled]", "hydra.run.dir=out", folder=tmp_path)
    assert "largest relative gap" in done.stdout
    assert "missed" not in done.stdout
    assert "bundled SAEs" in (tmp_path / "out" / "benchmark.csv").read_text()
    assert "bundled SAEs" in (tmp_path / "out" / "benchmark.md").read_text()
    assert_refused(
        run("benchmark.py", "cases=[huge]", "hydra.run.dir=out", folder=tmp_path, check=False), "no case 'huge'"
    )
