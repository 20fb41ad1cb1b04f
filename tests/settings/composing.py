"""Configs, composed as the programs compose theirs."""

from hydra import compose, initialize_config_dir

from sae_match.saes.settings import FORMATS
from sae_match.settings.entry import register, typed
from sae_match.settings.judge import JudgeStudySettings
from sae_match.settings.match import MatchSettings
from sae_match.settings.report import DashboardSettings, ReportSettings
from sae_match.settings.schema import TrainSettings, ValidateSettings
from sae_match.settings.tools import BenchmarkSettings, CacheSettings
from sae_match.training.language_model.settings import LanguageModelSettings
from sae_match.training.sae_settings import SAETrainingSettings
from tests.conftest import ROOT

CONF = ROOT / "conf"


def composed(name, *overrides, **options):
    register(
        validate=ValidateSettings,
        judge=JudgeStudySettings,
        match=MatchSettings,
        benchmark=BenchmarkSettings,
        cache=CacheSettings,
        report=ReportSettings,
        dashboard=DashboardSettings,
        train=TrainSettings,
        language_model=LanguageModelSettings,
        saes=SAETrainingSettings,
    )
    if {*(f"sae={name}" for name in (*FORMATS, "folder")), "experiment=smollm2"} & set(overrides):
        overrides = (*overrides, "sae.source=somewhere")
    if "text=files" in overrides:
        overrides = (*overrides, "text.datasets.files.path=somewhere")
    if "model=local" in overrides:
        overrides = (*overrides, "model.source=somewhere")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(name, [*overrides, "output_dir=somewhere"], **options)


def validate(*overrides):
    return typed(composed("validate", *overrides), ValidateSettings)
