"""Programs, started by their command lines.

`run` and `start` do what `subprocess.run` and `subprocess.Popen` do with `[sys.executable, *arguments]`, by a fork of a
process that has the libraries loaded ([server.py](server.py)): a tenth of a second in place of the six that the imports
take. What is about the start itself, or about what libraries read from the environment when they are imported, starts
an interpreter of its own: `run(…, fresh=True)`.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
# One thread for each program: several of them share the cores.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# Seconds: a program that hangs is a test that fails.
_LONGEST = 600.0
_ADDRESS = "SAE_MATCH_TESTS_SERVER"


def one_thread() -> None:
    """Tell every library that is imported from here on, in this process and in its children."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def quiet_environment(**more: str) -> dict[str, str]:
    """This process's environment without anybody's W&B account, and without a way to the Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, "HF_HUB_OFFLINE": "1", **more}


class Running:
    """A program that was started; as `subprocess.Popen`."""

    def __init__(
        self, arguments: Sequence[object], folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self.returncode: int | None = None
        self._said = ("", "")
        self._files = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._files.name) / name for name in ("stdout", "stderr"))
        request = {
            "arguments": self.arguments,
            "folder": str(folder or Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
            "stdout": str(self._out),
            "stderr": str(self._err),
        }
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(os.environ[_ADDRESS])
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self._told = self._connection.makefile("rb", buffering=0)
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """Exit status, as of `subprocess`; none while it runs."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Exit status once it has ended.

        Raises:
            TimeoutError: If it runs longer than `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise TimeoutError(f"still running after {timeout} seconds: {self.arguments}")
            self.returncode = int(self._told.readline())
            self._told.close()
            self._connection.close()
            self._said = (self._out.read_text("utf-8"), self._err.read_text("utf-8"))
            self._files.cleanup()
        return self.returncode

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        """No program outlives its test, nor what it started."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def send_signal(self, which: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, which)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to standard output and standard error, once it has ended."""
        self.wait(timeout)
        return self._said


def run(
    *arguments: str | Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """What became of `python ARGUMENTS`, in ten minutes at most; its exit status is for the caller to judge.

    Args:
        folder: Where it is started.
        environment: Its environment; none: this process's.
        fresh: By an interpreter of its own.
    """
    if fresh:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_LONGEST
        )
    with Running(arguments, folder, environment) as program:
        said = program.communicate(_LONGEST)
    return subprocess.CompletedProcess(program.arguments, program.returncode, *said)


@contextmanager
def server() -> Iterator[None]:
    """For the block, programs can be started, here and in child processes."""
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder) / "server")
        command = [sys.executable, str(Path(__file__).with_name("server.py")), address]
        environment = quiet_environment()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
            while not Path(address).exists():
                if process.poll() is not None:
                    raise RuntimeError("the server of programs did not start")
                time.sleep(0.005)
            os.environ[_ADDRESS] = address
            try:
                yield
            finally:
                process.stdin.close()
