"""What `--help` says about a program: its own groups with their choices, and its settings beside them."""

import textwrap
from collections.abc import Mapping

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from sae_match.errors import UserError

_WIDTH = 80
_INDENT = "  "
# Groups that are no choice of the user's.
_ASIDE = ("hydra/", "schema", "local", "sae@target")
# Groups that offer what another one does.
_LIKE = {"target": "sae"}


def help_on(what: str, *, _root_: DictConfig) -> str:
    """What `${help:groups}` and `${help:settings}` stand for.

    Raises:
        UserError: If there is no such help.
    """
    # Hydra keeps them from the last to the first.
    choices = reversed(list(_root_.hydra.runtime.choices.items()))
    chosen = {group: choice for group, choice in choices if not group.startswith(_ASIDE)}
    if what == "groups":
        return _groups(chosen)
    if what == "settings":
        beside = (str(name) for name in _root_ if name != "hydra" and name not in _places(chosen))
        return textwrap.fill(", ".join(beside), _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    raise UserError(f"${{help:{what}}}: there are groups, settings")


def _groups(chosen: Mapping[str, str | None]) -> str:
    """A paragraph for each group: what is chosen, and what could be."""
    labels = {group: f"{_INDENT}{group}={'null' if choice is None else choice}" for group, choice in chosen.items()}
    column = 2 + max(map(len, labels.values()), default=0)
    lines = [
        textwrap.fill(
            ", ".join(_choices(group)),
            _WIDTH,
            initial_indent=label.ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for group, label in labels.items()
    ]
    return "\n".join(lines) or f"{_INDENT}none"


def _choices(group: str) -> list[str]:
    if group in _LIKE:
        return [f"as for {_LIKE[group]}"]
    loader = GlobalHydra.instance().config_loader()
    return sorted(loader.get_group_options(group.partition("@")[0]))


def _places(chosen: Mapping[str, str | None]) -> set[str]:
    """Where groups stand in the config."""
    return {group.rpartition("@")[2] for group in chosen}
