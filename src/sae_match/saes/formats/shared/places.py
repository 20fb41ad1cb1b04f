"""What files, folders and settings say of the place that an SAE reads, held against the layer that is asked for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sae_match.errors import UserError, shown
from sae_match.saes.formats.shared.hub import fetch_if_any
from sae_match.saes.formats.shared.reading import read_json
from sae_match.saes.sites import Spot, spot_of

# Where settings name what an SAE reads.
_HOOKS = ("hook_name", "hook_point", "hook_point_in", "submodule_name", "act_name")
_IN_NAME = re.compile(r"[-_][lL](\d{1,4})[._]")
_LAYER_FOLDER = re.compile(r"(?:[A-Za-z_]+_)?layers?[._-]?(\d{1,4})")


@dataclass(frozen=True)
class Said:
    """What one file, folder or setting says.

    Attributes:
        by: Who says it.
        name: The place as it is spelt there.
        layer: Number of the layer that it names.
        spots: The places that it can mean; empty where it names a layer and nothing else.
    """

    by: str
    name: str
    layer: int
    spots: tuple[Spot, ...] = ()

    def allows(self, other: "Said") -> bool:
        """Whether both can mean one place."""
        return any(one.same(another) for one in self.spots for another in other.spots)


def said_by_hook(by: object, hook: object) -> list[Said]:
    """What the name of a hook point says; nothing if there is none, or it is of no scheme that is known here.

    Raises:
        UserError: If it is no text.
    """
    if hook is None:
        return []
    if not isinstance(hook, str):
        raise UserError(f"{by}: the place that the SAE reads must be named by text, got {shown(hook)}")
    spot = spot_of(hook)
    return [] if spot is None else [Said(str(by), hook, spot.layer, (spot,))]


def said_by_number(by: object, layer: int | None) -> list[Said]:
    """What the number of a layer says."""
    return [] if layer is None else [Said(str(by), f"layer {layer}", layer)]


def said_by_folder(source: str, path: str) -> list[Said]:
    """What the names of an SAE's folders say: those inside its source or, if it has none there, the source's own.

    Args:
        source: A folder or a repository.
        path: Path of one of the SAE's files inside it.
    """
    inside = PurePosixPath(path).parent.parts
    found: list[Said] = []
    for name in inside or (Path(source).name,):
        spot, by = spot_of(name), f"the folder {name}"
        if spot is not None and spot.site is not None:
            found.append(Said(by, name, spot.layer, (spot,)))
        # The source's own name is not the layout's: a bare number in it may mean anything.
        elif inside and (match := _LAYER_FOLDER.fullmatch(name)):
            found.append(Said(by, name, int(match[1])))
    return found


def layer_by_names(source: str, path: str, revision: str | None = None, *, read: bool = True) -> int | None:
    """The one layer that the folders of an SAE and the settings beside it name; none where they name none, or several.

    Args:
        source: A folder or a repository.
        path: Path of the SAE's tensors inside it.
        revision: Commit, tag or branch of the repository.
        read: Whether settings may be read, which are fetched for that.
    """
    named = {one.layer for one in said_by_folder(source, path)}
    if not named and (in_name := layer_in_name(path)) is not None:
        named = {in_name}
    for name in () if named or not read else ("cfg.json", "config.json"):
        try:
            file = fetch_if_any(source, str(PurePosixPath(path).parent / name), revision)
            if file is not None:
                named |= set(_layers_in(read_json(file)))
        except UserError:
            continue
    return named.pop() if len(named) == 1 else None


def layer_in_name(path: str) -> int | None:
    """Layer that the name of a file ends in, such as `SAE-l19.pth`; none where it names none."""
    match = _IN_NAME.search(PurePosixPath(path).name)
    return None if match is None else int(match[1])


def _layers_in(config: Mapping[str, object]) -> Iterator[int]:
    """Layers that settings name, in sections of theirs too."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _layers_in(value)
        elif key in _HOOKS and isinstance(value, str) and (spot := spot_of(value)) is not None:
            yield spot.layer
        elif key == "layer" and type(value) is int:
            yield value


def agreed_place(layer: int, said: Sequence[Said]) -> str | None:
    """Name of the place that an SAE reads, by all that is said of it; none if nothing names one.

    The residual before layer `L` is also the residual after layer `L - 1`.

    Args:
        layer: The layer that is asked for.
        said: What files, folders and settings say, the most reliable first.

    Raises:
        UserError: If any of it names another layer, or two name different places.
    """
    before_next = any(Spot(layer + 1, "residual_before") in one.spots for one in said)
    for one in said:
        _refuse_other_layer(one, layer, before_next)
    placed = [one for one in said if one.spots]
    for one in placed[1:]:
        if not placed[0].allows(one):
            raise UserError(
                f"{placed[0].by} says that the SAE reads {placed[0].name}, but {one.by} says {one.name}; "
                "they must name the same place"
            )
    # What can mean several places names none of them.
    return next((one.name for one in placed if len(one.spots) == 1), None)


def _refuse_other_layer(said: Said, layer: int, before_next: bool) -> None:
    if not said.spots:
        if said.layer != layer and not (before_next and said.layer == layer + 1):
            raise UserError(f"{said.by}: the SAE is of layer {said.layer}, not of layer {layer}")
        return
    if not any(spot.layer == layer or spot == Spot(layer + 1, "residual_before") for spot in said.spots):
        raise UserError(f"{said.by}: the SAE reads {said.name}, which is not at layer {layer}")
