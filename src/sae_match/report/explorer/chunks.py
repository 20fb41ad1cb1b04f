"""Chunks: scripts that hand the page its data, because a page opened from disk may not read files in any other way."""

import base64
import gzip
import json
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16

from sae_match.report.explorer.data import LayerData, StepData

#: What a cosine of 1 is stored as; the least int16 stands for nan.
COSINE_SCALE = 32767
_NO_COSINE = -32768
_GZIP_LEVEL = 6


def write_json(file: Path, name: str, value: object) -> None:
    """A small chunk that the page can read as it is."""
    # Neither a line of its own nor an end of a script can stand in the data.
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    file.write_text(f'Explorer.receive("{name}",{text});\n', encoding="ascii")


def write_packed(file: Path, name: str, packed: bytes) -> None:
    """A chunk of compressed bytes; equal bytes give equal files."""
    compressed = gzip.compress(packed, _GZIP_LEVEL, mtime=0)
    text = base64.b64encode(compressed).decode("ascii")
    file.write_text(f'Explorer.receive("{name}","{text}");\n', encoding="ascii")


def packed_json(value: object) -> bytes:
    """For larger values: JSON in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A token cut within a character may hold a lone surrogate, which has no UTF-8.
    return text.encode("utf-8", errors="replace")


def packed_layer(layer: LayerData, step: StepData | None) -> bytes:
    """What the page needs of every feature at once, little-endian, one array after another.

    `active` (uint32) and, where there is a step to the next layer, `cost` (float32), `permutation` (int32), where its
    pairs were judged `q` (float32), `decoder_cosine` (int16, see `COSINE_SCALE`), and from the next multiple of four
    bytes on `both` (uint32).
    """
    arrays = [layer.active.numpy(force=True).astype("<u4")]
    if step is not None:
        arrays += [
            step.cost.numpy(force=True).astype("<f4"),
            step.permutation.numpy(force=True).astype("<i4"),
            *([] if step.evidence is None else [step.evidence.q.numpy(force=True).astype("<f4")]),
            _stored_cosine(step.decoder_cosine.numpy(force=True)).astype("<i2"),
            np.zeros(layer.d_sae % 2, dtype="<i2"),
            step.both.numpy(force=True).astype("<u4"),
        ]
    return b"".join(array.tobytes() for array in arrays)


def rounded(value: float) -> float | None:
    """Six digits of a number, none where it is not finite: JSON knows no nan."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _stored_cosine(cosine: Float[np.ndarray, " n_source"]) -> Int16[np.ndarray, " n_source"]:
    known = np.isfinite(cosine)
    stored = np.round(np.clip(np.where(known, cosine, 0), -1, 1) * COSINE_SCALE)
    return np.where(known, stored, _NO_COSINE).astype(np.int16)
