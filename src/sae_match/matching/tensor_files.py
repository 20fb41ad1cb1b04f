"""Files of tensors that say what made them, in which format they are, and by a checksum whether they are whole."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.tensors import checksum
from sae_match.version import provenance

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT_VERSION = "2"
_PAIRS = (".parquet", ".csv", ".json", ".graphml")
# What the version of the package is called in `provenance`.
_VERSION = "package_version"
_CHECKSUM = "checksum"
# Bytes of the number that a file begins with, the size of its header.
_SIZE = 8


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that says what made its content and in which format it is; the same content, the same bytes.

    Metadata that were loaded from a file keep the version and commit that stand there.
    """
    made_by = {} if _VERSION in metadata else provenance()
    stamped = {**metadata, **made_by, "format_version": FORMAT_VERSION}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        data = to_bytes(whole, metadata={**stamped, _CHECKSUM: checksum(whole, stamped)})
        temporary.write_bytes(_in_order(data))


def save_pairs(path: Path, pairs: "DataFrame", about: Mapping[str, str | int | float]) -> Path:
    """Write pairs of features for other programs, as the ending of a name says: parquet, csv, json or graphml.

    Args:
        path: The file.
        pairs: `source_feature`, `target_feature`, `cost`; a cost that is not known is left out where that can be.
        about: What else is known; numbers that are not finite are left out.

    Raises:
        UserError: If the name ends otherwise.
    """
    if path.suffix not in _PAIRS:
        raise UserError(f"{path}: pairs are written as {', '.join(_PAIRS)}, as the ending of the name says")
    told = {name: value for name, value in about.items() if isinstance(value, str | int) or math.isfinite(value)}
    with written_whole(path) as temporary:
        if path.suffix == ".parquet":
            pairs.to_parquet(temporary, index=False)
        elif path.suffix == ".csv":
            pairs.to_csv(temporary, index=False)
        elif path.suffix == ".json":
            rows = json.loads(pairs.to_json(orient="records", double_precision=15))
            temporary.write_text(json.dumps({**told, "pairs": rows}, indent=1) + "\n", encoding="utf-8")
        else:
            _write_graph(temporary, pairs, told)
    return path


def _write_graph(path: Path, pairs: "DataFrame", about: Mapping[str, str | int | float]) -> None:
    # Only who asks for a graph waits for its library.
    import networkx

    graph = networkx.Graph(**about)
    for source, target, cost in pairs.itertuples(index=False):
        ends = [f"source:{source}", f"target:{target}"]
        for name, side, feature in zip(ends, ("source", "target"), (source, target), strict=True):
            graph.add_node(name, side=side, feature=int(feature))
        graph.add_edge(*ends, **({} if math.isnan(cost) else {"cost": float(cost)}))
    networkx.write_graphml(graph, path)


def load_tensors(
    path: Path, names: tuple[str, ...], *, sealed: bool = False, kind: str = "matching"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of the given names, and the metadata without the format version.

    Args:
        path: The file.
        names: Tensors that it must hold.
        sealed: Whether a file without a checksum is refused.
        kind: What it is a file of, for messages.

    Raises:
        UserError: If the file is missing, damaged, lacks a tensor or is of another format version.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        # Read whole: a file that is mapped and cut short by another process meanwhile would end this one.
        data = path.read_bytes()
        tensors = from_bytes(data)
        metadata: dict[str, str] = json.loads(data[_SIZE : _SIZE + int.from_bytes(data[:_SIZE], "little")]).get(
            "__metadata__", {}
        )
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a sound {kind} file: {error}") from error
    if missing := [name for name in names if name not in tensors]:
        raise UserError(f"{path} is not a sound {kind} file: it has no tensor {missing[0]}")
    said = metadata.pop(_CHECKSUM, None)
    stamped = dict(metadata)
    found = metadata.pop("format_version", "none")
    if found != FORMAT_VERSION:
        raise UserError(f"{path} has format version {found}, this version reads {FORMAT_VERSION}")
    if said is None and sealed:
        raise UserError(f"{path} has no checksum")
    if said is not None and said != checksum(tensors, stamped):
        raise UserError(f"{path} is damaged: it is not what its checksum says")
    return {name: tensors[name] for name in names}, metadata


def _in_order(data: bytes) -> bytes:
    """A file whose metadata are in alphabetical order: the library writes them in a new order each time."""
    size = int.from_bytes(data[:_SIZE], "little")
    header = json.loads(data[_SIZE : _SIZE + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin at multiples of eight bytes.
    text = text.ljust(-(-len(text) // _SIZE) * _SIZE)
    return len(text).to_bytes(_SIZE, "little") + text + data[_SIZE + size :]
