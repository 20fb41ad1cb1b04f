"""Names and shapes of the arrays in a file, by its header: no parameter is read."""

import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from sae_match.bounds import MOST_SETTINGS, refuse_beyond
from sae_match.errors import UserError, reason_of
from sae_match.saes.formats.shared.archives import array_header, damage_told

Shapes = dict[str, tuple[int, ...]]


def shapes_in_safetensors(file: Path) -> Shapes:
    """Shapes of the tensors of a safetensors file, by name.

    Raises:
        UserError: If it is no such file, or damaged.
    """
    refuse_long_header(file)
    try:
        with safe_open(file, framework="np") as opened:
            names = opened.keys()
            return {name: tuple(opened.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{file} is damaged or no safetensors file ({reason_of(error)}; an unfetched large-file pointer?); "
            "remove it and fetch it again"
        ) from error


def refuse_long_header(file: Path) -> None:
    """Check that the header of a safetensors file, which is parsed as a whole, is no longer than real ones are.

    Raises:
        UserError: If it is.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
        size = file.stat().st_size
    except OSError:
        return  # Whoever reads the file says so.
    # Of what is no such file, these bytes are anything; it is refused as such.
    if length <= size:
        refuse_beyond(MOST_SETTINGS, length, file, "its header")


def shape_in_npz(file: Path, name: str) -> tuple[int, ...] | None:
    """Shape of an array of an npz archive; none if it holds no such array.

    Raises:
        UserError: If it is no such archive, or damaged.
    """
    said = "damaged or no npz archive", "; an unfetched large-file pointer?"
    with damage_told(file, *said), zipfile.ZipFile(file) as archive:
        return array_header(archive, name)[0] if f"{name}.npy" in archive.namelist() else None
