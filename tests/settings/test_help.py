"""What programs say about themselves."""

import pytest
from hydra import compose, initialize_config_dir

from sae_match.settings.entry import register
from sae_match.settings.judge import JudgeStudySettings
from sae_match.settings.match import MatchSettings
from sae_match.settings.report import ReportSettings
from sae_match.settings.schema import ValidateSettings
from tests import programs
from tests.conftest import ROOT

CONF = ROOT / "conf"
PROGRAMS = sorted(file.stem for file in CONF.glob("*.yaml"))
SCHEMAS = {
    "validate": ValidateSettings,
    "match": MatchSettings,
    "judge": JudgeStudySettings,
    "report": ReportSettings,
}


def help_of(name, *overrides):
    register(**SCHEMAS)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(name, overrides=list(overrides), return_hydra_config=True).hydra.help.template


def groups_in(said):
    lines = said.split("(GROUP=CHOICE):\n")[1].split("\n\n")[0].splitlines()
    return [line.split()[0] for line in lines if not line.startswith("   ")]


def settings_in(said):
    return said.split(".yaml):\n")[1].split("\n\n")[0].replace("\n", " ").replace(",", "").split()


@pytest.mark.parametrize(
    ("program", "groups", "settings"),
    [
        (
            "validate",
            "model=bundled sae=bundled target=null target_model=null mlp=null attention=null matcher=folded "
            "text=bundled evaluation=adjacent trainer=default logger=wandb experiment=null",
            "report descriptions provenance steering groups pairs output_dir cache_dir check",
        ),
        (
            "match",
            "sae=bundled target=null matcher=folded",
            "pairs shard shards rotations alpha relations progress output_dir cache_dir",
        ),
        ("report", "logger=wandb", "runs output_dir arms metrics over"),
    ],
)
def test_a_program_names_its_own_groups_and_settings_and_no_others(program, groups, settings):
    said = help_of(program)
    assert groups_in(said) == groups.split()
    assert settings_in(said) == settings.split()


def test_what_is_chosen_is_said_with_what_could_be():
    said = help_of("judge", "judge=openai", "judge@second=token_overlap")
    (first,) = (line for line in said.splitlines() if line.startswith("  judge="))
    assert first.split() == ["judge=openai", "embedding,", "none,", "openai,", "token_overlap"]
    assert "  judge@second=token_overlap" in said
    assert "second" not in settings_in(said)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_short_and_says_where_there_is_more(program):
    done = programs.run(ROOT / "scripts" / f"{program}.py", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) < 60
    assert f"scripts/{program}.py" in done.stdout
    assert any(line.startswith("--cfg job ") for line in lines)
    assert max(map(len, lines)) <= 110


def test_choices_of_a_folder_of_ones_own_are_named(tmp_path):
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "trained.yaml").write_text("defaults: [bundled]\n")
    said = programs.run(ROOT / "scripts" / "match.py", "--config-dir", tmp_path, "sae=trained", "--help").stdout
    assert "sae=trained" in groups_in(said)
    assert ", trained" in said.replace("\n", " ")
