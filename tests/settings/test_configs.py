"""Every choice of every group composes and becomes typed settings."""

from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException, HydraException

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.settings.entry import typed
from sae_match.settings.match import MatchSettings
from sae_match.settings.report import DashboardSettings, ReportSettings
from sae_match.settings.schema import TrainSettings, ValidateSettings
from sae_match.settings.tools import BenchmarkSettings, CacheSettings
from sae_match.training.sae_settings import SAETrainingSettings, settled
from tests.settings.composing import CONF, composed, validate

GROUPS = ("model", "sae", "matcher", "text", "evaluation", "trainer", "logger", "experiment")
MATCH_GROUPS = ("sae", "matcher")
LAUNCHERS = sorted(file.stem for file in (CONF / "hydra" / "launcher").glob("*.yaml"))
CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]

# A choice that a validation refuses.
OF_TRAININGS = "trainer=bf16"


def test_every_group_has_choices():
    assert {choice.split("=")[0] for choice in CHOICES} == set(GROUPS)


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != OF_TRAININGS])
def test_every_choice_composes(choice):
    assert isinstance(validate(choice), ValidateSettings)


def test_mixed_precision_is_for_trainings_and_refused_for_a_validation():
    settings = typed(composed("train", OF_TRAININGS, "destination=somewhere"), TrainSettings)
    assert settings.trainer.precision == "bf16-mixed"
    with pytest.raises(UserError, match=r"trainer.precision=bf16-mixed would change.*model.dtype"):
        validate(OF_TRAININGS)


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice.split("=")[0] in MATCH_GROUPS])
def test_every_choice_composes_for_a_matching_without_a_model(choice):
    settings = typed(composed("match", choice), MatchSettings)
    assert (settings.pairs, settings.shard, settings.shards) == ("adjacent", 0, 1)
    assert settings.matcher.memory is None


def test_cases_of_the_benchmark_can_be_chosen():
    settings = typed(composed("benchmark", "cases=[exact,16k]"), BenchmarkSettings)
    assert (settings.cases, settings.seed) == (["exact", "16k"], 0)


def test_what_is_removed_from_the_cache_can_be_chosen():
    settings = typed(composed("cache", "remove=[matchings]", "older_than=30"), CacheSettings)
    assert (settings.remove, settings.older_than, settings.cache_dir) == (["matchings"], 30.0, None)


@pytest.mark.parametrize("logger", [choice for choice in CHOICES if choice.startswith("logger=")])
def test_comparisons_and_dashboards_compose_with_every_logger(logger):
    settings = typed(composed("report", logger, "runs=[one,two]", "arms=[matched]"), ReportSettings)
    assert (settings.folders, settings.arms, settings.metrics) == ([Path("one"), Path("two")], ["matched"], [])
    # What jobs are called is asked for in a program only.
    assert (settings.logger.group, settings.logger.name, settings.logger.job_type) == (None, None, None)
    assert typed(composed("dashboard", logger, "runs=one"), DashboardSettings).folders == [Path("one")]


def test_runs_must_be_named():
    with pytest.raises(UserError, match="runs must be a folder"):
        assert typed(composed("report"), ReportSettings).folders


@pytest.mark.parametrize("config", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_no_program_lets_a_failed_job_go_unsaid(config):
    assert "override hydra/callbacks: [failed_jobs, output_folder" in config.read_text()


CALLBACKS = {"validate": ["failed_jobs", "output_folder", "comparison"]}


@pytest.mark.parametrize("name", ["validate", "match", "train", "benchmark", "report", "dashboard"])
def test_every_program_says_which_jobs_of_a_sweep_failed_last_of_all(name):
    told = {"train": ["training=saes", "destination=there"], "report": ["runs=one"], "dashboard": ["runs=one"]}
    config = composed(name, *told.get(name, []), return_hydra_config=True)
    # At the end of a sweep callbacks are called in reverse.
    assert list(config.hydra.callbacks) == CALLBACKS.get(name, ["failed_jobs", "output_folder"])


def test_pairs_and_memory_of_a_matching_can_be_set():
    settings = typed(composed("match", "pairs=[[0,1],[2,5]]", "matcher.memory=8"), MatchSettings)
    assert settings.pairs == [[0, 1], [2, 5]]
    assert settings.matcher.memory == 8.0


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_composes_and_bounds_its_jobs(launcher):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    config = composed("match", f"hydra/launcher={launcher}", return_hydra_config=True)
    bound = config.hydra.launcher.get("n_jobs") or config.hydra.launcher.get("mem_gb")
    assert bound > 0
    assert config.hydra.launcher._target_.startswith("hydra_plugins.")


@pytest.mark.parametrize("training", ["language_model", "saes", "saes_16k"])
def test_every_training_composes(training):
    settings = typed(composed("train", f"training={training}", "destination=there"), TrainSettings)
    chosen = settings.training
    if isinstance(chosen, SAETrainingSettings):
        chosen = settled(chosen, n_layers=8, d_in=576)
        assert 0 < chosen.learning_rate < 0.01
    assert chosen.steps >= 1000


def test_the_defaults_are_the_papers_scheme_on_the_bundled_model():
    settings = validate()
    assert settings.matcher.fold == "threshold"
    assert settings.matcher.terms == {"W_enc": 1.0, "b_enc": 1.0, "W_dec": 1.0}
    assert SAECollection.of(settings.sae).adjacent_pairs() == [(layer, layer + 1) for layer in range(7)]
    assert set(settings.text.datasets) == {"prose", "code"}


def test_the_canonical_collection_names_an_existing_l0_for_every_layer():
    collection = SAECollection.of(validate("experiment=gemma_2_2b").sae)
    assert len(collection.adjacent_pairs()) == 25
    expected = [
        105,
        102,
        141,
        59,
        124,
        68,
        70,
        69,
        71,
        73,
        77,
        80,
        82,
        84,
        84,
        78,
        78,
        77,
        74,
        73,
        71,
        70,
        72,
        75,
        73,
        116,
    ]
    assert [which["l0"] for _, which in sorted(collection.layers.items())] == expected


@pytest.mark.parametrize("override", ["matcher.fodl=none", "text.document=3", "evaluation.armz=[]", "trainer.device=2"])
def test_a_misspelt_key_fails_when_composed(override):
    with pytest.raises(ConfigCompositionException):
        composed("validate", override)


@pytest.mark.parametrize("override", ["text.documents=many", "matcher.terms.W_enc=heavy"])
def test_a_value_of_the_wrong_type_fails_when_composed(override):
    with pytest.raises(HydraException):
        composed("validate", override)


def test_an_unknown_choice_lists_what_there_is():
    with pytest.raises(HydraException, match=r"(?s)Could not find 'matcher/foldet'.*folded.*unfolded"):
        composed("validate", "matcher=foldet")


MODULES = ("mlp=bundled_mlp", "attention=bundled_attention")


def test_saes_of_modules_come_from_the_same_files_as_others():
    settings = validate(*MODULES)
    assert {name: SAECollection.of(one).site for name, one in settings.modules.items()} == {
        "mlp": "mlp",
        "attention": "attention",
    }
    assert validate().modules == {}
    assert validate("experiment=provenance").modules.keys() == {"mlp", "attention"}
    assert validate("experiment=provenance_gemma_2_2b").modules["attention"].source.endswith("-pt-att")
    assert validate(*MODULES, "provenance.features=[[3,17],[4,20]]").provenance.features == [[3, 17], [4, 20]]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (("target=bundled_seed_100",), "asked of one collection: leave target and target_model out"),
        (("target_model=bundled_code",), "asked of one collection: leave target and target_model out"),
        (("evaluation.rotations=0",), "set evaluation.rotations to at least 1"),
        (("provenance.features=[[3]]",), r"a feature is a layer and a number, such as \[3,17\]; got \[3\]"),
        (("provenance.features=3",), r"provenance.features must be a list such as \[\[3,17\],\[4,20\]\]"),
    ],
)
def test_where_features_come_from_is_asked_of_one_collection(told, message):
    with pytest.raises(UserError, match=message):
        validate(*MODULES, *told)


def test_steering_and_groups_are_asked_in_place_of_a_validation():
    assert not validate().steers
    settings = validate("experiment=steering")
    assert settings.steers
    assert [layer for layer, _ in settings.steering.features] == [3, 3, 3, 3]
    assert validate("groups.features=[[3,17]]").steers
    assert validate("groups.prompts=['The capital of France']").steers
    with pytest.raises(UserError, match="steering and groups are of one collection"):
        validate("experiment=steering", "target=bundled_seed_100")
