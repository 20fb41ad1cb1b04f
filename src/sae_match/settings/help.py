"""What `--help` says about a program: its own groups with their choices, and its settings beside them."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from sae_match.errors import UserError
from sae_match.settings.configs import LIKE

# Of lines that are filled, and of those that are cut.
_WIDTH, _LONGEST = 108, 108
_INDENT = "  "
# Groups that are no choice of the user's.
_ASIDE = ("hydra/", "schema", "local", "sae@target", "sae@mlp", "sae@attention")


def help_on(what: str, *, _root_: DictConfig) -> str:
    """What `${help:groups}` and `${help:settings}` stand for.

    Raises:
        UserError: If there is no such help.
    """
    # Hydra keeps them from the last to the first.
    choices = reversed(list(_root_.hydra.runtime.choices.items()))
    chosen = {group: choice for group, choice in choices if not group.startswith(_ASIDE)}
    if what == "groups":
        given = (str(one).lstrip("+~").partition("=")[0] for one in _root_.hydra.overrides.task)
        return _groups(chosen, [name for name in given if name in chosen])
    if what == "settings":
        beside = (str(name) for name in _root_ if name != "hydra" and name not in _places(chosen))
        return textwrap.fill(", ".join(beside), _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    raise UserError(f"${{help:{what}}}: there are groups, settings")


def _groups(chosen: Mapping[str, str | None], told: Sequence[str] = ()) -> str:
    """A paragraph for each group: what is chosen, what could be, and what that is.

    Args:
        chosen: Groups with their choices.
        told: Groups that the command line chooses from, of which every choice is described.
    """
    labels = {group: f"{_INDENT}{group}={'null' if choice is None else choice}" for group, choice in chosen.items()}
    column = 2 + max(map(len, labels.values()), default=0)
    lines = []
    for group, label in labels.items():
        listed = textwrap.fill(
            ", ".join(_choices(group)),
            _WIDTH,
            initial_indent=label.ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        lines += [listed, *_described(group, chosen[group], column, every=group in told)]
    return "\n".join(lines) or f"{_INDENT}none"


def _described(group: str, choice: str | None, column: int, *, every: bool) -> list[str]:
    """A line for the choice, or for each that there is, by the comment that its file begins with."""
    folder = LIKE.get(group, group).partition("@")[0]
    names = GlobalHydra.instance().config_loader().get_group_options(folder) if every else [choice] if choice else []
    lines = []
    for name in sorted(names):
        if about := _about(f"{folder}/{name}.yaml"):
            start = f"{' ' * column}{f'{name}: ' if every else '- '}"
            lines.append(textwrap.shorten(about, _LONGEST - len(start), placeholder=" …").join([start, ""]))
    return lines


def _about(name: str) -> str:
    """The comment that a config begins with, up to the end of its first sentence; empty where it has none."""
    for place in GlobalHydra.instance().config_loader().get_search_path().get_path():
        file = Path(str(place.path).removeprefix("file://")) / name
        if file.is_file():
            comments = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
            said = [line for line in (line.lstrip("# ") for line in comments) if not line.startswith("@package")]
            return re.split(r"(?<=[.])\s", f"{' '.join(said)} ", maxsplit=1)[0].rstrip(". ")
    return ""


def _choices(group: str) -> list[str]:
    if group in LIKE:
        return [f"as for {LIKE[group]}"]
    loader = GlobalHydra.instance().config_loader()
    return sorted(loader.get_group_options(group.partition("@")[0]))


def _places(chosen: Mapping[str, str | None]) -> set[str]:
    """Where groups stand in the config."""
    return {group.rpartition("@")[2] for group in chosen}
