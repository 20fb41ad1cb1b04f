"""Groups that offer what another group does, as Hydra sees them."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.object_type import ObjectType
from hydra.errors import MissingConfigException
from hydra.plugins.config_source import ConfigLoadError

from sae_match.settings.configs import LIKE, LikenedSource
from sae_match.settings.entry import register
from sae_match.settings.schema import ValidateSettings
from tests.conftest import ROOT

SOURCE = LikenedSource("sae_match", "likened://")


def composed(*told):
    register(validate=ValidateSettings)
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return compose("validate", ["output_dir=somewhere", *told])


@pytest.mark.parametrize("group", LIKE)
def test_a_choice_is_that_of_the_other_group(group):
    choice = "bundled_seed_100" if LIKE[group] == "sae" else "bundled_code"
    assert composed(f"{group}={choice}")[group] == composed(f"{LIKE[group]}={choice}")[LIKE[group]]


def test_a_choice_in_a_folder_can_be_made():
    name = "qwen_scope/3_8b_base_w64k_l50"
    assert composed(f"target={name}").target == composed(f"sae={name}").sae


def test_what_the_other_group_has_not_is_refused():
    with pytest.raises(MissingConfigException, match="Could not find 'target/nothing'"):
        composed("target=nothing")
    with pytest.raises(ConfigLoadError, match="no config target/nothing"):
        SOURCE.load_config("target/nothing")


def test_groups_and_choices_are_listed():
    assert SOURCE.list("", None) == SOURCE.list("", ObjectType.GROUP) == sorted(LIKE)
    assert SOURCE.list("", ObjectType.CONFIG) == SOURCE.list("sae", None) == []
    assert SOURCE.list("target_model", None) == sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))
    assert [SOURCE.is_group(path) for path in ("", "target", "target/", "sae", "target/bundled")] == [True] * 3 + [
        False
    ] * 2
    assert [SOURCE.is_config(path) for path in ("target/bundled", "target/bundled.yaml", "target")] == [
        True,
        True,
        False,
    ]


def test_a_users_own_folder_counts(tmp_path, monkeypatch):
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "mine.yaml").touch()
    for told in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"], ["-cd", str(tmp_path)]):
        monkeypatch.setattr("sys.argv", ["validate", *told])
        assert SOURCE.is_config("mlp/mine")
        assert "mine" in SOURCE.list("mlp", ObjectType.CONFIG)
