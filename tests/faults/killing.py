"""Programs on the bundled model that are ended at seeded moments and started again, beside an undisturbed run of each.

`python -m tests.faults.killing 300` tries so many faults, and prints the table of `tests/README.md`.
"""

import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from sae_match.matching.result import Matching
from tests import programs
from tests.scripts.as_a_user import FAST, start

_LONGEST = 600.0
# Bytes of a file on a disk that is nearly full: more than what a program prints, less than what it leaves.
_DISK = 50_000
_SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
# Exit statuses of a program that was ended by a signal, heeded or not; one that was over returns 0.
_HEEDED = {signal.SIGTERM: {143, -signal.SIGTERM}, signal.SIGINT: {130}, signal.SIGKILL: {-signal.SIGKILL}}


@dataclass(frozen=True)
class Subject:
    """A program, and what of its results must not change.

    Attributes:
        script: Below `scripts/`.
        told: Its words; `{folder}` stands for the folder of one try.
        results: What it has left in that folder, by name: equal runs leave equal values.
    """

    script: str
    told: tuple[str, ...]
    results: Callable[[Path], Mapping[str, object]]


def _of_validation(folder: Path) -> Mapping[str, object]:
    tables = {name: (folder / "run" / name).read_bytes() for name in ("results.csv", "spans.csv", "warnings.csv")}
    return {**tables, **_of_matching(folder), "page": (folder / "run" / "report.html").is_file()}


def _of_matching(folder: Path) -> Mapping[str, object]:
    files = sorted((folder / "run" / "matchings").glob("*.safetensors"))
    return {file.name: Matching.load(file).permutation.tolist() for file in files}


def _of_training(folder: Path) -> Mapping[str, object]:
    files = sorted((folder / "saes").rglob("params.npz"))
    return {
        file.relative_to(folder).as_posix(): {name: array.tobytes() for name, array in np.load(file).items()}
        for file in files
    }


SUBJECTS = {
    "validate": Subject(
        "validate.py",
        (
            *FAST,
            "logger=none",
            "sae=bundled_seed_100",
            "evaluation.arms=[matched,coactivation,mean]",
            "report.contexts=1",
            "hydra.run.dir=run",
            "cache_dir={folder}/cache/matchings",
        ),
        _of_validation,
    ),
    "match": Subject(
        "match.py",
        ("pairs=all", "hydra.run.dir=run", "cache_dir={folder}/cache/matchings"),
        _of_matching,
    ),
    "train": Subject(
        "train.py",
        (
            "training=saes",
            "training.layers=[3]",
            "training.l0=[6]",
            "training.d_sae=64",
            "training.steps=40",
            "training.batch=256",
            "training.tokens=8000",
            "training.checkpoint_every=10",
            "trainer.progress=false",
            "logger=none",
            "destination=saes",
            "hydra.run.dir=run",
        ),
        _of_training,
    ),
}


@dataclass(frozen=True)
class Tried:
    """What became of a fault.

    Attributes:
        program: Name of the subject.
        fault: What was done to it.
        status: Exit status of the disturbed run.
        heeded: Seconds from the signal to the end.
        lost: What was wrong after the program was run again to its end; empty if nothing.
    """

    program: str
    fault: str
    status: int
    heeded: float
    lost: str


class Undisturbed:
    """A run of a subject to its end: its results, and how long it takes.

    Args:
        name: Of the subject.
        folder: An empty one.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.subject = name, SUBJECTS[name]
        # The first program that is asked for waits for the libraries, and for loops to be compiled.
        with _started(self.subject, _new(folder)) as program:
            program.communicate(_LONGEST)
        began = time.monotonic()
        with _started(self.subject, folder) as program:
            _, said = program.communicate(_LONGEST)
        self.seconds = time.monotonic() - began
        if program.returncode != 0:
            raise RuntimeError(f"{name} fails undisturbed: {said}")
        self.results = self.subject.results(folder)

    def killed(self, folder: Path, which: str, share: float) -> Tried:
        """Send a signal after a share of the undisturbed run's time, then run the same again to its end."""
        with _started(self.subject, folder) as program:
            time.sleep(share * self.seconds)
            sent = time.monotonic()
            program.send_signal(_SIGNALS[which])
            status = program.wait(_LONGEST)
            heeded = time.monotonic() - sent
        lost = "" if status in {0, *_HEEDED[_SIGNALS[which]]} else f"status {status}"
        return Tried(self.name, which, status, heeded, lost or self._again(folder))

    def full(self, folder: Path, most: int) -> Tried:
        """No file may grow beyond so many bytes, as on a disk that is full; then run again with room."""
        with _started(self.subject, folder, most) as program:
            _, said = program.communicate(_LONGEST)
        status = program.returncode or 0
        # What measures the coverage of these tests has no room for its own file either.
        is_ours = "Traceback" in said and "/coverage/" not in said
        lost = f"a trace: {said[-300:]}" if is_ours else ""
        return Tried(self.name, "full disk", status, 0.0, lost or self._again(folder))

    def twice(self, folder: Path) -> Tried:
        """Two runs of the same command at once, each with a folder of its own and one cache."""
        (folder / "other").mkdir()
        with _started(self.subject, folder) as one, _started(self.subject, folder / "other", cache=folder) as other:
            statuses = one.wait(_LONGEST), other.wait(_LONGEST)
        both = [self.subject.results(folder), self.subject.results(folder / "other")]
        lost = "" if both == [self.results, self.results] else "two runs at once end differently"
        return Tried(self.name, "two at once", max(statuses), 0.0, lost)

    def _again(self, folder: Path) -> str:
        """What is wrong after the same command was given again; empty if nothing."""
        with _started(self.subject, folder) as program:
            _, said = program.communicate(_LONGEST)
        if program.returncode != 0:
            return f"the same command again ends with {program.returncode}: {said[-300:]}"
        found = self.subject.results(folder)
        differ = [name for name in {*found, *self.results} if found.get(name) != self.results.get(name)]
        left = [path.name for path in folder.rglob(".*") if path.suffix in (".safetensors", ".npz", ".ckpt", ".csv")]
        return "; ".join([*(f"{name} differs" for name in sorted(differ)), *(f"{name} is left" for name in left)])


def faults(seed: int, number: int) -> Iterator[tuple[str, float]]:
    """Signals with shares of a run, spread over its whole life, in an order that follows from the seed."""
    generator = random.Random(seed)
    names = list(_SIGNALS)
    every = [(names[at % len(names)], (at + generator.random()) / number) for at in range(number)]
    generator.shuffle(every)
    return iter(every)


def try_all(number: int, folder: Path, seed: int = 0) -> Iterator[Tried]:
    """Try so many faults, divided over the programs."""
    each = max(1, round(number / len(SUBJECTS)))
    for name in SUBJECTS:
        whole = Undisturbed(name, _new(folder))
        signals = max(1, each - 2)
        for which, share in faults(seed, signals):
            yield _cleaned(whole.killed, _new(folder), which, share)
        if each > 2:
            yield _cleaned(whole.full, _new(folder), _DISK)
            yield _cleaned(whole.twice, _new(folder))


def table(tried: Iterable[Tried]) -> Table:
    """How many faults of each kind were tried and survived, and what was lost."""
    shown, by_kind = Table(box=MARKDOWN), dict[tuple[str, str], list[Tried]]()
    for one in tried:
        by_kind.setdefault((one.program, one.fault), []).append(one)
    for heading in ("program", "fault", "tried", "survived", "slowest to heed", "lost"):
        shown.add_column(heading, justify="left" if heading in ("program", "fault", "lost") else "right")
    for (program, fault), several in by_kind.items():
        lost = Counter(one.lost for one in several if one.lost)
        heeded = max(one.heeded for one in several)
        what = "; ".join(f"{text} ({times} times)" for text, times in lost.items()) or "nothing"
        survived = sum(not one.lost for one in several)
        shown.add_row(program, fault, str(len(several)), str(survived), f"{heeded:.1f} s" if heeded else "", what)
    return shown


def _new(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


def _cleaned(fault: Callable[..., Tried], folder: Path, *told: object) -> Tried:
    try:
        return fault(folder, *told)
    finally:
        shutil.rmtree(folder)


def _started(subject: Subject, folder: Path, most_bytes: int = 0, cache: Path | None = None) -> programs.Running:
    told = [word.replace("{folder}", str(cache or folder)) for word in subject.told]
    program = start(subject.script, *told, folder=folder)
    if most_bytes:
        # Python programs ignore the signal that goes with it, and see an error as from a full disk.
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    return program


if __name__ == "__main__":
    with programs.server(), tempfile.TemporaryDirectory() as place:
        found = []
        for one in try_all(int(sys.argv[1]), Path(place)):
            found.append(one)
            print(len(found), one, flush=True)
        Console(width=160).print(table(found))
