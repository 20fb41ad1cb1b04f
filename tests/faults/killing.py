"""Programs on the bundled model that are disturbed at seeded moments and started again, beside undisturbed runs.

`python -m tests.faults.killing 300` tries so many faults, and prints the table of `tests/README.md`. `--seed` takes
other moments, `--only` one program, `--fault` one disturbance (a method of `Undisturbed`). `--results FILE` keeps what
was tried, and adds it to what the file holds: `python -m tests.faults.killing 0 --results FILE` shows that.
"""

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tests import programs
from tests.faults.disturbances import new_folder
from tests.faults.subjects import SUBJECTS, places
from tests.faults.tables import Tried, summary, table
from tests.faults.undisturbed import SIGNALS, Undisturbed

# Share of the faults that are signals.
_SIGNALLED = 0.6


def faults(seed: int, number: int) -> Iterator[tuple[str, float]]:
    """Signals with shares of a run, spread over its whole life, in an order that follows from the seed."""
    generator = random.Random(seed)
    names = list(SIGNALS)
    every = [(names[at % len(names)], (at + generator.random()) / number) for at in range(number)]
    generator.shuffle(every)
    return iter(every)


def try_all(
    number: int, folder: Path, seed: int = 0, only: str | None = None, fault: str | None = None
) -> Iterator[Tried]:
    """Try so many faults, divided over the programs; of one program only, or no signals but one disturbance only."""
    names = [only] if only else list(SUBJECTS)
    with places(new_folder(folder), names) as given:
        for at, name in enumerate(names):
            each = (number + len(names) - 1 - at) // len(names)
            if each:
                yield from _tried_on(Undisturbed(name, new_folder(folder), given), each, seed, folder, fault)


def _tried_on(whole: Undisturbed, number: int, seed: int, folder: Path, only: str | None) -> Iterator[Tried]:
    generator, signals = random.Random(f"{seed} {whole.name}"), 0 if only else round(_SIGNALLED * number)
    for which, share in faults(seed, signals):
        yield _cleaned(folder, lambda place, which=which, share=share: whole.killed(place, which, share))
    others = [each for each in whole.disturbances() if only in (None, each.__name__)]
    for at in range(number - signals if others else 0):
        fault = others[(seed + at) % len(others)]
        yield _cleaned(folder, lambda place, fault=fault: fault(place, generator))


def _cleaned(folder: Path, fault: Callable[[Path], Tried]) -> Tried:
    place = new_folder(folder)
    try:
        return fault(place)
    finally:
        shutil.rmtree(place)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.killing")
    parser.add_argument("number", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SUBJECTS)
    parser.add_argument("--fault", choices=[name for name in vars(Undisturbed) if not name.startswith("_")])
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    told = _arguments()
    lines = told.results.read_text().splitlines() if told.results and told.results.exists() else []
    found = [Tried(**json.loads(line)) for line in lines]
    with programs.server(), tempfile.TemporaryDirectory() as temporary:
        for one in try_all(told.number, Path(temporary), told.seed, told.only, told.fault) if told.number else ():
            found.append(one)
            print(len(found), one, flush=True)
            if told.results:
                with told.results.open("a") as file:
                    file.write(f"{json.dumps(asdict(one))}\n")
    Console(width=200).print(table(found))
    print(summary(found))
