"""What a validation that was killed goes on from: its sums after the last finished batch."""

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import remove_leftovers, written_whole

log = logging.getLogger(__name__)

_SUMS, _FINISHED = "sums", "finished"
_TIMES_WRITING = 10.0


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

    def found(self, entries: int, batches: int) -> tuple[Float64[Tensor, " entries"], set[int]] | None:
        """Sums and numbers of the finished batches; none where there is no file that can be used.

        Args:
            entries: How many sums there are.
            batches: How many batches there are.
        """
        if self.file is None:
            return None
        with suppress(OSError):
            remove_leftovers(self.file)
        if not self.file.is_file():
            return None
        try:
            with safe_open(self.file, framework="pt") as held:
                sums, finished = held.get_tensor(_SUMS), held.get_tensor(_FINISHED)
            _refuse_unsound(sums, finished, entries, batches)
        except (SafetensorError, OSError, ValueError) as error:
            log.warning("%s cannot be used (%s); every batch is measured anew", self.file, error)
            return None
        return sums, set(finished.tolist())

    def keep(self, sums: Float64[Tensor, " entries"], finished: set[int]) -> None:
        """Write what is finished; where that cannot be done, it is said once and then done without."""
        if self.file is None:
            return
        start = time.perf_counter()
        try:
            with written_whole(self.file) as temporary:
                save_file({_SUMS: sums, _FINISHED: torch.tensor(sorted(finished))}, temporary)
        except (UserError, SafetensorError) as error:
            log.warning("%s; if this run is killed, it begins anew", error)
            self.file = None
        self.seconds = time.perf_counter() - start

    def remove(self) -> None:
        """Remove the file: the validation is over."""
        if self.file is not None:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)


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
