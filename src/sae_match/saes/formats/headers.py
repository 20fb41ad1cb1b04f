"""Names and shapes of the arrays in a file, by its header: no parameter is read."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from sae_match.errors import UserError

Shapes = dict[str, tuple[int, ...]]


def shapes_in_safetensors(file: Path) -> Shapes:
    """Shapes of the tensors of a safetensors file, by name.

    Raises:
        UserError: If it is no such file, or damaged.
    """
    try:
        with safe_open(file, framework="np") as opened:
            names = opened.keys()
            return {name: tuple(opened.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{file} is damaged or no safetensors file ({error}; an unfetched large-file pointer?); "
            "remove it and fetch it again"
        ) from error


def shape_in_npz(file: Path, name: str) -> tuple[int, ...] | None:
    """Shape of an array of an npz archive; none if it holds no such array.

    Raises:
        UserError: If it is no such archive, or damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if f"{name}.npy" not in archive.namelist():
                return None
            with archive.open(f"{name}.npy") as stream:
                is_old = np.lib.format.read_magic(stream) == (1, 0)
                read = np.lib.format.read_array_header_1_0 if is_old else np.lib.format.read_array_header_2_0
                return tuple(read(stream)[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{file} is damaged or no npz archive ({error}; an unfetched large-file pointer?); fetch it again"
        ) from error
