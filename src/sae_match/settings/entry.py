"""Turn an entry point that takes typed settings into a Hydra program."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import hydra
import transformers
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.settings.schema import TrainSettings, ValidateSettings
from sae_match.training.language_model import LanguageModelSettings
from sae_match.training.sae_training import SAETrainingSettings

Settings = TypeVar("Settings")


def register() -> None:
    """Make the schemas and the resolver `${bundled:…}` known to Hydra; may be called again."""
    store = ConfigStore.instance()
    store.store(group="schema", name="validate", node=ValidateSettings)
    store.store(group="schema", name="train", node=TrainSettings)
    store.store(group="schema", name="language_model", node=LanguageModelSettings)
    store.store(group="schema", name="saes", node=SAETrainingSettings)
    OmegaConf.register_new_resolver("bundled", bundled.path, replace=True)


def typed(config: DictConfig, kind: type[Settings]) -> Settings:
    """The settings that a composed config stands for.

    Raises:
        UserError: If a value is missing or cannot be resolved.
    """
    try:
        settings = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    if not isinstance(settings, kind):
        raise TypeError(f"the config composes to {type(settings).__name__}, not {kind.__name__}")
    return settings


def entry_point(config: Path, kind: type[Settings]) -> Callable[[Callable[[Settings], None]], Callable[[], None]]:
    """Decorate `main(settings)` into a command-line program whose primary config is the file `config`.

    A `UserError` ends the program with one line on standard error and exit status 1.
    """
    register()

    def decorate(main: Callable[[Settings], None]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path=str(config.parent), config_name=config.stem)
        def program(composed: DictConfig) -> None:
            _quieten()
            try:
                main(typed(composed, kind))
            except UserError as error:
                raise SystemExit(f"error: {error}") from error

        return cast(Callable[[], None], program)

    return decorate


def _quieten() -> None:
    """Drop the notices that libraries print on every run and no user can act on."""
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
