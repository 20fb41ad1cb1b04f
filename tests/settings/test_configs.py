"""Every choice of every group composes and becomes typed settings."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException
from tests.conftest import ROOT

from sae_match.settings.entry import register, typed
from sae_match.settings.schema import TrainSettings, ValidateSettings

CONF = ROOT / "conf"
GROUPS = ("model", "sae", "matcher", "text", "evaluation", "trainer", "logger", "experiment")
CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


def composed(name, *overrides):
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(name, [*overrides, "output_dir=somewhere"])


def validate(*overrides):
    if "sae=gemma_scope" in overrides:
        overrides = (*overrides, "sae.source=somewhere")
    return typed(composed("validate", *overrides), ValidateSettings)


def test_every_group_has_choices():
    assert {choice.split("=")[0] for choice in CHOICES} == set(GROUPS)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice):
    assert isinstance(validate(choice), ValidateSettings)


@pytest.mark.parametrize("training", ["language_model", "saes"])
def test_every_training_composes(training):
    settings = typed(composed("train", f"training={training}", "destination=there"), TrainSettings)
    assert settings.training.steps > 0


def test_the_defaults_are_the_papers_scheme_on_the_bundled_model():
    settings = validate()
    assert settings.matcher.fold == "threshold"
    assert settings.matcher.terms == {"W_enc": 1.0, "b_enc": 1.0, "W_dec": 1.0}
    assert settings.sae.collection().adjacent_pairs() == [(layer, layer + 1) for layer in range(7)]
    assert set(settings.text.datasets) == {"prose", "code"}


def test_the_canonical_collection_names_an_existing_l0_for_every_layer():
    collection = validate("experiment=gemma_2_2b").sae.collection()
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
