"""Look before loading: which format a folder or a repository is in, by the names of its files, and what it holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sae_match.errors import UserError, listed
from sae_match.saes.formats.shared.describing import SAEDescription
from sae_match.saes.formats.shared.hub import files_of, natural
from sae_match.saes.formats.shared.kinds import unreadable
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.places import layer_by_names
from sae_match.saes.sites import spot_of

# Folders above an SAE's own that its format may want to see; SAEs whose small files are read.
_ABOVE, _MOST_READ = 3, 64
_WHERE_ADDED = "formats are added in sae_match/saes/formats (its README shows how)"


@dataclass(frozen=True)
class Held:
    """One dictionary of a source.

    Attributes:
        which: What picks it, as the format's `load` takes it; without a `layer` where nothing names one.
        file: Path of its tensors.
        about: What its small files say; none where they are too many to be read.
        trouble: What is wrong with them.
    """

    which: Mapping[str, Any]
    file: str
    about: SAEDescription | None = None
    trouble: str | None = None

    def fits(self, asked: Mapping[str, Any]) -> bool:
        """Whether it is picked so, as far as that is asked."""
        return all(str(self.which.get(key)) == str(value) for key, value in asked.items())

    @property
    def layer(self) -> int | None:
        """Its layer; none where nothing names one."""
        layer = self.which.get("layer")
        return layer if isinstance(layer, int) else None

    @property
    def site(self) -> str | None:
        """Where it reads, as one of `sae_match.saes.sites`; none where nothing says it."""
        spot = None if self.about is None or self.about.hook is None else spot_of(self.about.hook)
        return None if spot is None else spot.site

    @property
    def width(self) -> int | str | None:
        """Its features: their number, else as its folder says it."""
        told: int | str | None = self.which.get("width")
        return told if self.about is None or self.about.d_sae is None else self.about.d_sae


@dataclass(frozen=True)
class Description:
    """What a folder or a repository holds.

    Attributes:
        source: The source, as `load_sae` takes it: of a single SAE's folder it may be one above.
        format: Name of the format.
        because: How it was recognised.
        held: Its dictionaries.
    """

    source: str
    format: str
    because: str
    held: Sequence[Held] = field(default_factory=tuple)

    @property
    def layers(self) -> list[int]:
        """Layers that have a dictionary."""
        return sorted({one.layer for one in self.held if one.layer is not None})

    @property
    def sites(self) -> list[str]:
        """Sites that are read, as far as the small files say it."""
        return sorted({one.site for one in self.held if one.site is not None})

    @property
    def widths(self) -> list[int | str]:
        """Numbers of features, or their names where nothing else says them."""
        return sorted({one.width for one in self.held if one.width is not None}, key=str)

    @property
    def l0s(self) -> list[int | str]:
        """What the folders say of active features a token."""
        return sorted({one.which["l0"] for one in self.held if "l0" in one.which}, key=str)

    @property
    def unmeasurable(self) -> list[str]:
        """Why some of them can be matched and nothing can be measured of them on text; empty where all can be."""
        return sorted({one.about.unmeasurable for one in self.held if one.about and one.about.unmeasurable})

    def picked(self, which: Mapping[str, Any]) -> Held:
        """The one dictionary that fits what is asked for; what picks none of them is passed over.

        Raises:
            UserError: If none fits, or several do.
        """
        picks = {key for one in self.held for key in one.which}
        asked = {key: value for key, value in which.items() if key in picks}
        fitting = [
            one for one in self.held if all(str(one.which.get(key)) == str(value) for key, value in asked.items())
        ]
        if len(fitting) != 1:
            shown = [", ".join(f"{key}={value}" for key, value in one.which.items()) for one in fitting or self.held]
            found = f"{len(fitting)} of them fit" if fitting else "none fits"
            raise UserError(
                f"{self.source} ({self.format}) holds {len(self.held)} dictionaries, and {found} "
                f"{asked or 'what was asked for, nothing'}; choose by {listed([f'({one})' for one in shown], 6)}"
            )
        return fitting[0]

    def rows(self) -> dict[str, str]:
        """What there is to say of it, for people, by what it is about."""
        return {
            "format": f"{self.format} ({self.because})",
            "dictionaries": str(len(self.held)),
            "layers": listed(map(str, self.layers), 50),
            "sites": listed(self.sites),
            "widths": listed(map(str, self.widths)),
            "l0": listed(map(str, self.l0s), 30),
        }

    def __str__(self) -> str:
        return "\n".join(
            [self.source, *(f"{name + ':':14}{told}" for name, told in self.rows().items()), *self._notes()]
        )

    def _notes(self) -> Iterator[str]:
        yield from (f"matched only: {reason}" for reason in self.unmeasurable)
        yield from (f"not sound:    {one.trouble}" for one in self.held if one.trouble is not None)


Describe = Callable[..., SAEDescription]


def look(source: str, revision: str | None, layouts: Mapping[str, Layout], describe: Describe) -> Description:
    """Which format a source is in, and what it holds.

    Args:
        source: A folder, or a repository of the hub.
        revision: Commit, tag or branch of the repository.
        layouts: How each format names its files.
        describe: Says what one SAE is, as `describe_sae` does.

    Raises:
        UserError: If no format fits, or several do.
    """
    views = list(_views(source, revision))
    for place, names in views:
        fitting = recognised(names, layouts)
        if len(fitting) > 1:
            raise UserError(f"{source} fits several formats: {_told(fitting)}; say which")
        for name, found in fitting.items():
            return Description(place, name, _because(found), _held(place, revision, name, found, describe))
    names = views[0][1]
    if (why := unreadable(names)) is not None:
        raise UserError(f"{source} cannot be read: {why}. It holds {listed(sorted(names), 8)}")
    lacks = "; ".join(f"{name}: {layout.missing(names)}" for name, layout in layouts.items())
    raise UserError(
        f"{source} is in no format that is known here. It holds {listed(sorted(names), 8)}. What is missing: {lacks}. "
        f"{_WHERE_ADDED[0].upper()}{_WHERE_ADDED[1:]}"
    )


def recognised(names: Sequence[str], layouts: Mapping[str, Layout]) -> dict[str, dict[str, dict[str, Any]]]:
    """What each format finds in a list of paths, by format and path; formats that find nothing are left out.

    A format whose files could be anything is asked last.
    """
    found = {name: layout.found_in(names) for name, layout in layouts.items()}
    sure = {name: one for name, one in found.items() if one and not layouts[name].anything}
    return sure or {name: one for name, one in found.items() if one}


def _views(source: str, revision: str | None) -> Iterator[tuple[str, list[str]]]:
    """A source with its files; and where it is a folder, the folders above it, of which it may be one SAE's own."""
    names = files_of(source, revision)
    yield source, names
    folder = Path(source).expanduser()
    if folder.is_dir():
        inside = [folder.resolve(), *folder.resolve().parents][:_ABOVE]
        for above in inside:
            prefix = folder.resolve().relative_to(above.parent).as_posix()
            beside = [f"{prefix}/{name}" for name in names]
            if above.parent != above:
                yield str(above.parent), beside


def _because(found: Mapping[str, object]) -> str:
    files = list(found)
    return f"by {files[0]}" + (f" and {len(files) - 1} more such files" if len(files) > 1 else "")


def _told(fitting: Mapping[str, Mapping[str, object]]) -> str:
    return ", ".join(f"{name} ({_because(found)})" for name, found in fitting.items())


def _held(
    place: str, revision: str | None, name: str, found: Mapping[str, dict[str, Any]], describe: Describe
) -> tuple[Held, ...]:
    read = len(found) <= _MOST_READ or Path(place).expanduser().is_dir()
    options = {} if revision is None else {"revision": revision}
    held = []
    for file, which in found.items():
        for one in _at_each_layer(which):
            layer = one.get("layer", layer_by_names(place, file, revision, read=read))
            picked = one if layer is None else {"layer": layer, **one}
            about: SAEDescription | None = None
            trouble: str | None = None
            if read and layer is not None:
                try:
                    about = describe(name, place, **picked, **options)
                except UserError as error:
                    trouble = str(error)
            held.append(Held(picked, file, about, trouble))
    return tuple(sorted(held, key=lambda one: natural(one.file)))


def _at_each_layer(which: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What picks a dictionary; of one that spans layers, what picks the view that a file holds."""
    rest = {key: value for key, value in which.items() if key not in ("view", "embedding")}
    if "embedding" in which:
        yield {**rest, "layer": which["embedding"]}
    elif "view" in which:
        numbers = str(which["layers"]).split("_")
        if which["view"] < len(numbers):
            yield {**rest, "layer": int(numbers[which["view"]])}
    else:
        yield rest
