"""What a validation that was killed goes on from: its sums after the last finished batch."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import remove_leftovers, written_whole
from sae_match.tensors import checksum

log = logging.getLogger(__name__)

# Of the sums; those of another one are not gone on from.
_FORMAT = 6
_SUMS, _FINISHED, _CHECKSUM = "sums", "finished", "checksum"
_TIMES_WRITING = 10.0


@dataclass(frozen=True)
class SumsIdentity:
    """All that the sums of a validation follow from: runs that differ in any of it do not go on from each other.

    Attributes:
        settings: What is measured, without what does not change it.
        site: Where the SAEs read.
        precision: Of the trainer and of matrix products, and how attention is computed.
        device: Type of the device.
        matcher: What the matchings follow from.
        saes: Content hash of each layer's SAE.
        model: The model's `fingerprint`.
        share: Number of the process, how many there are, and how many batches each of its passes has.
        text: Content hash of the text that is measured.
        fitting: The same of the fitting text, where some is needed.
    """

    settings: Mapping[str, object]
    site: str
    precision: Sequence[str]
    device: str
    matcher: Mapping[str, object]
    saes: Mapping[int, str]
    model: str
    share: Sequence[int]
    text: str
    fitting: str

    def file(self, folder: Path) -> Path:
        """Where the sums are kept below a folder."""
        told = json.dumps({"format": _FORMAT, **asdict(self)}, sort_keys=True)
        return folder / f"{hashlib.sha256(told.encode()).hexdigest()}.safetensors"


@dataclass
class Unfinished:
    """A file that holds the sums of the batches that are finished.

    Attributes:
        file: Named by everything that determines the sums; none where nothing is kept.
        seconds: What the last writing took.
    """

    file: Path | None
    seconds: float = 0.0

    def is_due(self, since: float) -> bool:
        """Whether to write again, so many seconds after the last time: writing is to be a small part of the time."""
        return since >= _TIMES_WRITING * self.seconds

    def found(self, entries: int | None, batches: int) -> tuple[Float64[Tensor, " entries"], set[int]] | None:
        """Sums and numbers of the finished batches; none where there is no file that can be used.

        Args:
            entries: How many sums there are; none where that is not known beforehand.
            batches: How many batches there are.
        """
        if self.file is None:
            return None
        with suppress(OSError):
            remove_leftovers(self.file)
        if not self.file.is_file():
            return None
        try:
            sums, finished = _as_written(load(self.file.read_bytes()))
            _refuse_unsound(sums, finished, len(sums) if entries is None else entries, batches)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            self.say_unusable(error)
            return None
        return sums, set(finished.tolist())

    def say_unusable(self, error: Exception) -> None:
        """Say that what was kept is not what this version keeps, and what follows from that."""
        log.warning("%s cannot be used (%s); every batch is measured anew", self.file, error)

    def keep(self, sums: Float64[Tensor, " entries"], finished: set[int]) -> None:
        """Write what is finished; where that cannot be done, it is said once and then done without."""
        if self.file is None:
            return
        start = time.perf_counter()
        try:
            with written_whole(self.file) as temporary:
                numbers = torch.tensor(sorted(finished), dtype=torch.int64)
                save_file({_SUMS: sums, _FINISHED: numbers, _CHECKSUM: _sealed(sums, numbers)}, temporary)
        except (UserError, SafetensorError) as error:
            log.warning("%s; if this run is killed, it begins anew", error)
            self.file = None
        self.seconds = time.perf_counter() - start

    def remove(self) -> None:
        """Remove the file: the validation is over."""
        if self.file is not None:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)


class UnfinishedRun:
    """What an interrupted validation goes on from: a file a pass, and one for each pair of layers that is fitted.

    Args:
        file: What the names of all are made of.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._parts: dict[str, Unfinished] = {}

    def part(self, name: str) -> Unfinished:
        """The file of a part; the same object each time."""
        return self._parts.setdefault(name, Unfinished(self.file.with_name(f"{self.file.stem}.{name}.safetensors")))

    def remove(self) -> None:
        """Remove all of them: the validation is over."""
        for part in self._parts.values():
            part.remove()


def _sealed(sums: Tensor, finished: Tensor) -> Tensor:
    """The checksum of what is kept."""
    digest = checksum({_SUMS: sums, _FINISHED: finished}, {})
    return torch.frombuffer(bytearray.fromhex(digest), dtype=torch.uint8)


def _as_written(held: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Sums and numbers of the finished batches, from a file's tensors.

    Raises:
        ValueError: If they are not what was written.
    """
    if held.keys() != {_SUMS, _FINISHED, _CHECKSUM}:
        raise ValueError(f"it holds {', '.join(sorted(held)) or 'nothing'}")
    if not torch.equal(held[_CHECKSUM], _sealed(held[_SUMS], held[_FINISHED])):
        raise ValueError("it is not what its checksum says")
    return held[_SUMS], held[_FINISHED]


def _refuse_unsound(sums: Tensor, finished: Tensor, entries: int, batches: int) -> None:
    """Check that what was read can be what was written.

    Raises:
        ValueError: If it cannot.
    """
    if sums.shape != (entries,) or sums.dtype != torch.float64 or not torch.isfinite(sums).all():
        raise ValueError(f"its sums must be {entries} finite numbers of float64")
    if finished.ndim != 1 or finished.dtype != torch.int64 or len(finished.unique()) != len(finished):
        raise ValueError("its batches must be distinct whole numbers")
    if len(finished) and not 0 <= int(finished.min()) <= int(finished.max()) < batches:
        raise ValueError(f"its batches must lie in 0 … {batches - 1}")
