"""A folder of SAEs that says what it holds: plain data, read as such, that moves with the folder.

`saes.json` names a format, for each layer what picks its SAE within the folder and, if it is not the residual stream,
the site that they read. Its `files` record the SHA-256 of files, so that what is read is what was written. A folder
without it is looked through, if its layout is Gemma Scope's.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.saes.formats import FORMATS
from sae_match.saes.sites import Site, checked_site

NAME = "saes.json"
# Of thousands of layers; what is longer is no manifest.
_MOST_BYTES = 1 << 20
_HASH = re.compile(r"[0-9a-f]{64}")
_LAYOUT = re.compile(r"layer_(\d+)/width_([^/]+)/average_l0_(\d+)/params\.npz")

Layers = Mapping[int, Mapping[str, str | int]]


def write_manifest(
    folder: Path, format_name: str, layers: Layers, files: Iterable[Path] = (), site: Site = "residual"
) -> None:
    """Say of a folder what it holds.

    Args:
        folder: The folder.
        format_name: Format of its SAEs.
        layers: What picks the SAE of each layer.
        files: Files in it whose content is recorded.
        site: Where in its layer each SAE reads.
    """
    named = {str(layer): dict(which) for layer, which in sorted(layers.items())}
    recorded = {file.relative_to(folder).as_posix(): _hash_of(file) for file in sorted(files)}
    # Earlier versions know of no other site than the residual stream's, and wrote none.
    place = {} if site == "residual" else {"site": site}
    said = {"format": format_name, **place, "layers": named, **({"files": recorded} if recorded else {})}
    with written_whole(folder / NAME) as temporary:
        temporary.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def recorded_site(folder: Path) -> Site | None:
    """Where in their layers a folder's SAEs read; none where it has no manifest.

    A manifest that does not say means the residual stream.

    Raises:
        UserError: If its manifest is not sound.
    """
    file = folder / NAME
    if not file.exists():
        return None
    try:
        return checked_site(str(_read(file).get("site", "residual")))
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def recorded_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of files in a folder, by their paths in it, as its manifest records them; none where it records none.

    Raises:
        UserError: If its manifest is not sound.
    """
    file = folder / NAME
    recorded = _read(file).get("files", {}) if file.exists() else {}
    sound = isinstance(recorded, dict) and all(
        isinstance(one, str) and _HASH.fullmatch(one) is not None for one in recorded.values()
    )
    if not sound:
        raise UserError(f"{file}: files must name the SHA-256 of each, 64 hexadecimal digits")
    found: dict[str, str] = recorded
    return found


def refuse_other_content(folder: Path, path: str, recorded: str) -> None:
    """Check that a file holds what its folder's manifest records.

    Raises:
        UserError: If it does not.
    """
    if _hash_of(folder / path) != recorded:
        raise UserError(
            f"{folder / path} does not hold what {NAME} records (SHA-256 {recorded[:12]}…): it was damaged or changed; "
            f"fetch it again, or, if it was changed on purpose, take it out of files in {folder / NAME}"
        )


def _hash_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_folder(folder: Path) -> tuple[str, dict[int, dict[str, Any]]]:
    """Format of a folder's SAEs and, for each layer, what picks its SAE.

    Raises:
        UserError: If there is no such folder, its manifest is not sound, or it has none and is not in Gemma Scope's
            layout with one SAE a layer.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder} (sae.source)")
    file = folder / NAME
    return _said(file) if file.exists() else ("gemma_scope", _looked_through(folder))


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise UserError(f"{file} has more than {_MOST_BYTES:,} bytes: it is no manifest of SAEs")
        said = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(said, dict) or not isinstance(said.get("layers"), dict) or not said["layers"]:
        raise UserError(f'{file} must hold a format and layers: {{"format": …, "layers": {{"3": {{…}}, …}}}}')
    return said


def _said(file: Path) -> tuple[str, dict[int, dict[str, Any]]]:
    said = _read(file)
    if str(said.get("format")) not in FORMATS:
        raise UserError(f"{file}: unknown SAE format {said.get('format')!r}; there are {', '.join(FORMATS)}")
    return said["format"], {_layer(file, name): _which(file, name, which) for name, which in said["layers"].items()}


def _layer(file: Path, name: str) -> int:
    if not (name.isascii() and name.isdecimal() and len(name) < 6):
        raise UserError(f"{file}: layers are named by their numbers, got {name[:40]!r}")
    return int(name)


def _which(file: Path, layer: str, which: object) -> dict[str, Any]:
    """What picks an SAE within the folder, and nowhere else."""
    if not isinstance(which, dict) or not all(isinstance(value, str | int) for value in which.values()):
        raise UserError(f"{file}: what picks the SAE of layer {layer} must be names with a text or a number each")
    if "source" in which or "revision" in which:
        raise UserError(f"{file}: the SAE of layer {layer} must lie in this folder; it names a source of its own")
    for name, value in which.items():
        path = Path(value) if isinstance(value, str) else Path()
        if path.is_absolute() or ".." in path.parts or "\0" in str(value):
            raise UserError(f"{file}: {name} of layer {layer} leads out of this folder")
    return which


def _looked_through(folder: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("layer_*/width_*/average_l0_*/params.npz")):
        if match := _LAYOUT.fullmatch(file.relative_to(folder).as_posix()):
            found.setdefault(int(match[1]), []).append({"width": match[2], "l0": int(match[3])})
    if not found:
        raise UserError(
            f"{folder} holds neither {NAME} nor SAEs in Gemma Scope's layout; name them with sae=gemma_scope"
        )
    for layer, several in sorted(found.items()):
        if len(several) > 1:
            choices = "; ".join(f"width {one['width']}, l0 {one['l0']}" for one in several)
            raise UserError(f"{folder} holds several SAEs of layer {layer} ({choices}); choose with sae=gemma_scope")
    return {layer: which for layer, (which,) in sorted(found.items())}
