"""A run of a program to its end, and others of it that are disturbed, each given again and compared with it."""

import json
import math
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests import programs
from tests.faults.disturbances import (
    JUMP,
    cpu_seconds,
    damage,
    damaging,
    files_below,
    new_folder,
    prefixed,
    read_only,
    touched,
)
from tests.faults.subjects import SUBJECTS, Places
from tests.faults.tables import Tried
from tests.scripts.as_a_user import start

_LONGEST = 600.0
# Bytes of a file on a disk that is nearly full: more than what a program prints.
_DISK = 8_000
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
# Exit statuses of a program that was ended by a signal, heeded or not; one that was over returns 0.
_HEEDED = {signal.SIGTERM: {143, -signal.SIGTERM}, signal.SIGINT: {130}, signal.SIGKILL: {-signal.SIGKILL}}
_OFTEN = 0.02
# Name of a file that is being written.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")
# How often a user removes a damaged file that a program names, and starts it again.
_PATIENCE = 5


class Undisturbed:
    """A run of a subject to its end: its results, and how long it takes; beside it others are disturbed.

    Args:
        name: Of the subject.
        folder: An empty one.
        places: What stands for the words of subjects.
    """

    def __init__(self, name: str, folder: Path, places: Places) -> None:
        self.name, self.subject, self.places = name, SUBJECTS[name], places
        self.seconds = self.computed = 0.0
        # The first program that is asked for waits for the libraries, and for loops to be compiled.
        for place in (new_folder(folder.parent), folder):
            began = time.monotonic()
            with self._started(place) as program:
                self.computed = _watched(program)
                _, said = program.communicate(_LONGEST)
            self.seconds = time.monotonic() - began
            if program.returncode != 0:
                raise RuntimeError(f"{name} fails undisturbed: {said}")
        self.results = self.subject.results(folder)
        self.largest = max(file.stat().st_size for file in files_below([folder]))

    def killed(self, folder: Path, which: str, share: float) -> Tried:
        """Send a signal after a share of the undisturbed run's time, then run the same again to its end."""
        asked = len(self.places.server.requests)
        with self._started(folder) as program:
            before, sent = self._come_to(program, share), time.monotonic()
            program.send_signal(SIGNALS[which])
            after = max(before, _watched(program))
            heeded = time.monotonic() - sent
            _, said = program.communicate(_LONGEST)
        status = program.wait()
        lost = "" if status in {0, *_HEEDED[SIGNALS[which]]} else f"status {status}: {said[-300:]}"
        lost = lost or self._again(folder) or self._asked_twice(asked, killed=which == "SIGKILL")
        return Tried(self.name, which, status, heeded, after - before, lost, share)

    def killed_at_every_file(self, folder: Path) -> Tried:
        """A run is killed, as if others had been before, each while it wrote another of a run's files."""
        told, place = folder / "renamed.txt", folder / "place"
        place.mkdir()
        with self._started(place, f"with_renames_told({str(told)!r})") as program:
            program.communicate(_LONGEST)
        written = {Path(line) for line in told.read_text().splitlines()}
        inside = [file for file in written if place in file.parents and not file.is_dir()]
        # Lightning renames a file of its own to the name under which we write.
        inside = [file for file in inside if not _TEMPORARY.fullmatch(file.name)]
        planted = [file.with_name(f".{file.name}.{'0' * 8}{file.suffix}") for file in inside]
        shutil.rmtree(place)
        place.mkdir()
        with self._started(place) as program:
            self._come_to(program, 0.5)
            program.send_signal(signal.SIGKILL)
            program.wait(_LONGEST)
        # What it has finished, it has tidied up after.
        for kept in self._kept(place):
            shutil.rmtree(kept, ignore_errors=True)
        for file in planted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        lost = self._again(place) if planted else "no file was written"
        return Tried(self.name, "killed at every file", 0, lost=lost)

    def full(self, folder: Path, random: random.Random) -> Tried:
        """No file may grow beyond fewer bytes than the largest has, as on a disk that is full; then run with room."""
        most = random.randint(_DISK, max(_DISK, self.largest - 1))
        with self._started(folder) as program:
            # Python programs ignore the signal that goes with it, and see an error as from a full disk.
            resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (most, most))
            _, said = program.communicate(_LONGEST)
        return self._refused("full disk", folder, program.returncode, said)

    def twice(self, folder: Path, _random: random.Random) -> Tried:
        """Two runs of the same command at once, each with a folder of its own and one cache."""
        asked = len(self.places.server.requests)
        (folder / "other").mkdir()
        with self._started(folder) as one, self._started(folder / "other", cache=folder) as other:
            said = [each.communicate(_LONGEST)[1] for each in (one, other)]
        statuses = [one.wait(), other.wait()]
        if any(statuses):
            return Tried(self.name, "two at once", max(statuses), lost=" / ".join(each[-300:] for each in said))
        both = [self.subject.results(folder), self.subject.results(folder / "other")]
        lost = "" if both == [self.results, self.results] else "two runs at once end differently"
        return Tried(self.name, "two at once", 0, lost=lost or self._asked_twice(asked))

    def read_only_output(self, folder: Path, _random: random.Random) -> Tried:
        """The folder of results cannot be written."""
        place = folder / ("saes" if self.name == "train" else "run")
        with read_only(place), self._started(folder, "without_rights()") as program:
            _, said = program.communicate(_LONGEST)
        return self._refused("read-only output", folder, program.returncode, said)

    def read_only_cache(self, folder: Path, _random: random.Random) -> Tried:
        """The cache cannot be written: the results are the same, but where answers would be paid for in vain."""
        with read_only(folder / "cache"), self._started(folder, "without_rights()") as program:
            _, said = program.communicate(_LONGEST)
        if program.returncode == 0 and (differ := self._differing(folder)):
            return Tried(self.name, "read-only cache", 0, lost=differ)
        tried = self._refused("read-only cache", folder, program.returncode, said)
        if program.returncode and not self.subject.asks:
            return Tried(self.name, "read-only cache", program.returncode, lost=f"no results: {said[-300:]}")
        return tried

    def damaged_before(self, folder: Path, random: random.Random) -> Tried:
        """A run is killed, or ends, and what it has kept is damaged before the next."""
        with self._started(folder) as program:
            self._come_to(program, random.uniform(0.3, 1.2))
            program.send_signal(signal.SIGKILL)
            program.wait(_LONGEST)
        files = [*files_below(self._kept(folder)), *(folder / "saes").glob("training.ckpt")]
        done = [damage(random, file) for file in random.sample(files, k=min(len(files), random.randint(1, 3)))]
        return Tried(self.name, "kept files damaged", 0, lost=self._again(folder, done), moment=", ".join(done))

    def damaged_meanwhile(self, folder: Path, random: random.Random) -> Tried:
        """Somebody damages what is kept while the program runs, which sees it, or ends as if it had not happened."""
        kept = [place for place in self._kept(folder) if place.name != "answers"]
        with damaging(random, kept, self.seconds / 20) as done, self._started(folder) as program:
            _, said = program.communicate(_LONGEST)
        if program.returncode == 0 and (differ := self._differing(folder)):
            return Tried(self.name, "cache damaged meanwhile", 0, lost=f"{differ} after {done}")
        return self._refused("cache damaged meanwhile", folder, program.returncode, said)

    def clock_jumps(self, folder: Path, random: random.Random) -> Tried:
        """The clock jumps by ten years while a program runs, that is killed later, and back; files' times as well."""
        by = random.choice([JUMP, -JUMP])
        jumps, killed = sorted(random.uniform(0, 1.1) for _ in range(2))
        with self._started(folder, f"with_a_clock_that_jumps({jumps * self.seconds}, {by})") as program:
            self._come_to(program, killed)
            program.send_signal(signal.SIGKILL)
            program.wait(_LONGEST)
        touched([folder], by)
        return Tried(self.name, "clock jumps", program.returncode or 0, lost=self._again(folder))

    def disturbances(self) -> list[Callable[[Path, random.Random], Tried]]:
        """What can be done to the subject besides signals; the likelier in the field the oftener."""
        common = [self.full, self.clock_jumps, self.read_only_output]
        if self.name == "report":
            return common
        if self.name == "train":
            return [*common, self.damaged_before]
        return [*common, self.twice, self.damaged_before, self.damaged_meanwhile, self.read_only_cache]

    def _come_to(self, program: programs.Running, share: float) -> float:
        """Wait until a run has computed a share of what an undisturbed one does, or is over; what it has computed.

        Other programs may have the processors meanwhile.
        """
        return _watched(program, share * self.computed)

    def _kept(self, folder: Path) -> list[Path]:
        """Folders of what a run goes on from."""
        if self.name == "train":
            return [folder / "saes" / "activations"]
        caches = [place for place in (folder / "cache").glob("*") if place.is_dir()]
        return [folder / "cache" / "matchings", *caches]

    def _refused(self, fault: str, folder: Path, status: int | None, said: str) -> Tried:
        """A run that could not do all that it was to has said why, without a trace; then it is given again."""
        # What measures the coverage of these tests has no room for its own file either.
        lost = f"a trace: {said[-600:]}" if "Traceback" in said and "/coverage/" not in said else ""
        if not lost and status not in (0, 1):
            lost = f"status {status}: {said[-300:]}"
        return Tried(self.name, fault, status or 0, lost=lost or self._again(folder))

    def _again(self, folder: Path, damaged: Sequence[str] = ()) -> str:
        """What is wrong after the same command was given again; empty if nothing.

        Where files were damaged, one that the program names is removed, as it says.
        """
        for _ in range(_PATIENCE):
            with self._started(folder) as program:
                _, said = program.communicate(_LONGEST)
            named = [name for name in {each.split()[0] for each in damaged} if name in said]
            if program.returncode == 0 or "Traceback" in said or not named:
                break
            for file in files_below([folder]):
                if file.name in named or any(file.name.startswith(f"{name}-") for name in named):
                    file.unlink()
        if program.returncode != 0:
            return f"the same command again ends with {program.returncode}: {said[-600:]}"
        return self._differing(folder)

    def _differing(self, folder: Path) -> str:
        found = self.subject.results(folder)
        differ = [name for name in {*found, *self.results} if found.get(name) != self.results.get(name)]
        left = [path.name for path in folder.rglob(".*") if _TEMPORARY.fullmatch(path.name)]
        return "; ".join([*(f"{name} differs" for name in sorted(differ)), *(f"{name} is left" for name in left)])

    def _asked_twice(self, since: int, *, killed: bool = False) -> str:
        """What the server was asked again; a process that is killed takes with it what it has asked at that time."""
        if not self.subject.asks:
            return ""
        asked = [json.dumps(request, sort_keys=True) for request in self.places.server.requests[since:]]
        again = len(asked) - len(set(asked))
        return f"{again} questions asked twice" if again > (4 if killed else 0) else ""

    def _started(self, folder: Path, call: str = "", cache: Path | None = None) -> programs.Running:
        told = [self._word(word, cache or folder) for word in self.subject.told]
        if not call:
            return start(self.subject.script, *told, folder=folder, NO_PROXY="127.0.0.1")
        script = programs.ROOT / "scripts" / self.subject.script
        environment = programs.quiet_environment(NO_PROXY="127.0.0.1")
        return programs.Running(prefixed(call, script, told), folder, environment)

    def _word(self, word: str, folder: Path) -> str:
        for name, value in {**self.places.words, "folder": str(folder)}.items():
            word = word.replace(f"{{{name}}}", value)
        return word


def _watched(program: programs.Running, most: float = math.inf) -> float:
    """Seconds that a program takes of processors until its end, or until it has taken so many."""
    taken, began = 0.0, time.monotonic()
    while program.poll() is None and taken < most and time.monotonic() - began < _LONGEST:
        taken = cpu_seconds(program.pid) or taken
        time.sleep(_OFTEN)
    return taken
