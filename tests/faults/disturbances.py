"""What is done to programs from outside: rights that are taken away, clocks that jump, files that somebody damages."""

import ctypes
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

#: Seconds by which clocks jump: ten years.
JUMP = 10 * 365 * 86_400.0
_OVERRIDE = (1, 2, 3)  # Of files' modes: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER.
_VERSION = 0x20080522
# As the kernel takes them: effective, permitted and inheritable, of the first 32 and of the others.
_SETS = ctypes.c_uint32 * 6


def without_rights() -> None:
    """Take from this process what lets root write where modes forbid it. For `-c`: a program knows nothing of tests."""
    if os.geteuid() != 0:
        return
    libc, header, sets = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(_VERSION, 0), _SETS()
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for capability in _OVERRIDE:
        for at in range(3):
            sets[at] &= ~(1 << capability)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def with_a_clock_that_jumps(after: float, by: float) -> None:
    """Have the time of day of this process jump, so many seconds from now."""
    real, real_ns, began = time.time, time.time_ns, time.monotonic()

    def jumped() -> float:
        return by if time.monotonic() - began >= after else 0.0

    time.time = lambda: real() + jumped()
    time.time_ns = lambda: real_ns() + int(jumped() * 1e9)


def with_renames_told(file: str) -> None:
    """Have this process append what it renames files to, one path a line."""
    told = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename":
            os.write(told, os.fsencode(Path(os.fsdecode(arguments[1])).absolute()) + b"\n")

    sys.addaudithook(hear)


def prefixed(call: str, script: Path, told: Sequence[str]) -> list[str]:
    """Arguments of an interpreter that makes a call of this module, and then is the script."""
    code = (
        "import importlib.util, runpy, sys\n"
        f"spec = importlib.util.spec_from_file_location('disturbances', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        f"module.{call}\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    return ["-c", code, str(script), *told]


def files_below(folders: Sequence[Path]) -> list[Path]:
    """Files in folders, in the order of their names; without locks and what SQLite's processes share in memory."""
    found: list[Path] = []
    for folder in folders:
        for place, _, names in os.walk(folder):
            found += [Path(place) / name for name in names if not name.endswith((".lock", "-shm"))]
    return sorted(found)


def damage(generator: random.Random, file: Path) -> str:
    """Flip bytes of a file, cut it short, empty or remove it; returns what was done."""
    with suppress(OSError):
        data = bytearray(file.read_bytes())
        done = generator.choice(["flipped", "flipped", "cut", "emptied", "removed"])
        if done == "removed":
            file.unlink()
        elif done == "flipped" and data:
            for _ in range(generator.randint(1, 3)):
                data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
            file.write_bytes(data)
        else:
            file.write_bytes(data[: generator.randrange(len(data)) if data and done == "cut" else 0])
        return f"{file.name} {done}"
    return "nothing"


@contextmanager
def damaging(generator: random.Random, folders: Sequence[Path], every: float) -> Iterator[list[str]]:
    """While the block runs, somebody damages files below folders, now and then one; a list of what was done."""
    over, done = Event(), list[str]()

    def go_on() -> None:
        while not over.wait(every * (0.5 + generator.random())):
            if files := files_below(folders):
                done.append(damage(generator, generator.choice(files)))

    thread = Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """While the block runs, nobody without rights beyond the modes can write a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


def touched(folders: Sequence[Path], by: float) -> None:
    """Shift the times of all files below folders."""
    for file in files_below(folders):
        with suppress(OSError):
            os.utime(file, (time.time() + by, time.time() + by))


def new_folder(folder: Path) -> Path:
    """An empty folder in another."""
    return Path(tempfile.mkdtemp(dir=folder))


def cpu_seconds(process: int) -> float | None:
    """What a process has taken of processors, children that ended included; none where it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields[0] != "Z" else None
