"""The processes that share one job: how they are started, watched and ended, and what they leave behind."""

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

# What Lightning tells its processes by; left over, the next job of a sweep would take itself for one of them.
_TOLD = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# What a helper runs: it finds modules where the first process does.
_FIRST = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from sae_match.commands.helping import main; main()"
)
_COMMAND = (sys.executable, "-P", "-c", _FIRST)
# Seconds between looks at the helpers; that one may take to end; after which this process is ended if one has failed.
_LOOK, _LONGEST_END, _LONGEST_FAILURE = 0.5, 60.0, 10.0


class Helpers:
    """Processes that do a share of this one's work. If one fails, the others and this one are ended.

    Args:
        program: Name of the program.
        settings: All that it was told, as it stands: a helper reads no command line and composes no config.
        environments: Of each helper.
    """

    def __init__(self, program: str, settings: object, environments: Sequence[dict[str, str]]) -> None:
        told = pickle.dumps([str(Path(place).absolute()) for place in sys.path]) + pickle.dumps((program, settings))
        self.running = [subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, env=one) for one in environments]
        self._over = threading.Event()
        for helper in self.running:
            # One that has failed already is heard of below.
            with suppress(BrokenPipeError):
                if helper.stdin is not None:
                    helper.stdin.write(told)
                    helper.stdin.close()
        self.looking = threading.Thread(target=self._look_after, daemon=True)
        self.looking.start()
        _STARTED.append(self)

    def end(self, *, failing: bool) -> None:
        """Wait until they have ended; where this process fails, they have nobody to wait for, and are ended."""
        self._over.set()
        for helper in self.running:
            if failing:
                helper.kill()
            try:
                helper.wait(_LONGEST_END)
            except subprocess.TimeoutExpired:
                helper.kill()
                helper.wait()

    def _look_after(self) -> None:
        while not self._over.wait(_LOOK):
            statuses = [helper.poll() for helper in self.running]
            if all(status == 0 for status in statuses):
                return
            failed = [(number, status) for number, status in enumerate(statuses, 2) if status]
            if failed:
                # The first is this one.
                log.error("process %d of %d ended with status %s", failed[0][0], len(statuses) + 1, failed[0][1])
                for helper in self.running:
                    helper.kill()
                # It may wait for the one that is gone, where no signal is heard.
                if not self._over.wait(_LONGEST_FAILURE):
                    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
                return


_STARTED: list[Helpers] = []


@contextmanager
def one_job() -> Iterator[None]:
    """When the block ends, the processes that it has started have ended, and the environment is as it was before."""
    environment = {name: os.environ.get(name) for name in _TOLD}
    failing = True
    try:
        yield
        failing = False
    finally:
        while _STARTED:
            _STARTED.pop().end(failing=failing)
        _leave_process_group()
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _leave_process_group() -> None:
    """Leave no process group behind; a job that did not import torch has none."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_helper() -> bool:
    """Whether this process was started by another one to share its work."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0
