"""Where the configs are that programs are composed of, and groups that offer what another group does.

`target=X` is `sae=X` in another place.
"""

import sys
from itertools import pairwise
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from sae_match.errors import UserError

#: Each group, and the one whose choices it has: a collection that can be the source can be the target, or say what a
#: layer's modules add.
LIKE = {"target": "sae", "target_model": "model", "mlp": "sae", "attention": "sae"}
_SCHEME = "likened"
_PACKAGE = Path(__file__).resolve().parents[1]


def config_folder() -> Path:
    """`conf` beside the sources in a checkout, inside the package where that was installed from a wheel.

    Raises:
        UserError: If it is in neither place.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf"):
        if (folder / "validate.yaml").is_file():
            return folder
    raise UserError(f"there are no configs beside {_PACKAGE}; install the package anew")


class LikenedSource(ConfigSource):
    """Hydra's view of such groups. Nothing is held: Hydra copies its sources at every look at a group."""

    @staticmethod
    def scheme() -> str:
        """What its place in the search path begins with."""
        return _SCHEME

    def available(self) -> bool:
        """It is always there."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether a path is a group."""
        return config_path.strip("/") in ("", *LIKE)

    def is_config(self, config_path: str) -> bool:
        """Whether a path is a choice of a group."""
        group, _, name = config_path.strip("/").removesuffix(".yaml").partition("/")
        return group in LIKE and bool(name) and any((folder / f"{name}.yaml").is_file() for folder in _folders(group))

    def load_config(self, config_path: str) -> ConfigResult:
        """The choice of the other group, where this one stands."""
        if not self.is_config(config_path):
            raise ConfigLoadError(f"no config {config_path}")
        group, _, name = config_path.strip("/").removesuffix(".yaml").partition("/")
        config = OmegaConf.create({"defaults": [{f"/{LIKE[group]}@_here_": name}]})
        return ConfigResult(self.provider, self.full_path(), config, {"package": None})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The groups, or the choices of one; what lies in folders can be chosen too, and is not listed."""
        group = config_path.strip("/")
        if not group:
            return sorted(LIKE) if results_filter in (None, ObjectType.GROUP) else []
        if group not in LIKE or results_filter == ObjectType.GROUP:
            return []
        return sorted({file.stem for folder in _folders(group) for file in folder.glob("*.yaml")})


class LikenedPlace(SearchPathPlugin):
    """Has Hydra look there, behind the project's own folder."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the place."""
        search_path.append(provider="sae_match", path=f"{_SCHEME}://")


def make_groups_known() -> None:
    """Tell Hydra of these groups. May be called again."""
    for plugin in (LikenedSource, LikenedPlace):
        Plugins.instance().register(plugin)


def _folders(group: str) -> list[Path]:
    """Where the choices of a group lie: with the project's, and in a folder of the user's own."""
    return [folder / LIKE[group] for folder in (config_folder(), *_own_folders())]


def _own_folders() -> list[Path]:
    """Folders of a user's configs: Hydra reads `--config-dir` itself, and says it to no source."""
    told = sys.argv[1:]
    apart = [behind for one, behind in pairwise(told) if one in ("--config-dir", "-cd")]
    return [Path(name) for name in (*apart, *(one[13:] for one in told if one.startswith("--config-dir=")))]
