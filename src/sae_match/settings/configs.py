"""Where the configs are that programs are composed of."""

from pathlib import Path

from sae_match.errors import UserError

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
