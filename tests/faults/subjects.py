"""Programs that faults are tried on, small enough to be over in seconds, and what of their results must not change."""

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sae_match.matching.result import Matching
from tests.programs import ROOT
from tests.scripts.as_a_user import FAST, PLAIN, run
from tests.semantics.judge.mini_server import MiniServer, same_words

Results = Mapping[str, object]


@dataclass(frozen=True)
class Subject:
    """A program, and what of its results must not change.

    Attributes:
        script: Below `scripts/`.
        told: Its words; `{folder}`, `{runs}`, `{text}` and `{server}` stand for places.
        results: What it has left in the folder of one try, by name: equal runs leave equal values.
        asks: Whether it asks the server, which must not be asked the same again after a run that could tidy up.
    """

    script: str
    told: tuple[str, ...]
    results: Callable[[Path], Results]
    asks: bool = False


def _tables(folder: Path, *names: str) -> Results:
    return {name: (folder / "run" / name).read_bytes() for name in names}


def _pictures(folder: Path) -> Results:
    """Names of pictures that are whole."""
    return {
        file.name: file.read_bytes().endswith((b"IEND\xaeB`\x82", b"</svg>\n"))
        for file in (folder / "run" / "figures").glob("[!.]*.[ps][nv]g")
    }


def _of_validation(folder: Path) -> Results:
    tables = _tables(folder, "results.csv", "spans.csv", "differences.csv", "warnings.csv")
    page = {"page": (folder / "run" / "report.html").is_file()}
    return {**tables, **_of_matching(folder), **_pictures(folder), **page}


def _of_matching(folder: Path) -> Results:
    files = sorted((folder / "run" / "matchings").glob("*.safetensors"))
    found = {file.name: Matching.load(file) for file in files}
    return {name: (one.permutation.tolist(), one.pair_cost.tolist(), one.lower_bound) for name, one in found.items()}


def _of_training(folder: Path) -> Results:
    files = sorted((folder / "saes").rglob("params.npz"))
    return {
        file.relative_to(folder).as_posix(): {name: array.tobytes() for name, array in np.load(file).items()}
        for file in files
    }


def _of_judging(folder: Path) -> Results:
    with (folder / "run" / "judgements.csv").open(newline="") as lines:
        judgements = sorted(tuple(row.values()) for row in csv.DictReader(lines))
    return {"judgements.csv": judgements, **_tables(folder, "results.csv", "spans.csv"), **_pictures(folder)}


def _of_report(folder: Path) -> Results:
    return {**_tables(folder, "comparison.csv", "comparison_by_layer.csv", "comparison.md"), **_pictures(folder)}


_RUN = ("hydra.run.dir=run",)
_CACHED = (*_RUN, "cache_dir={folder}/cache/matchings")
_TEXT = ("text=files", "text.datasets.files.kind=text", "text.datasets.files.path={text}")

SUBJECTS = {
    "match": Subject("match.py", (*_CACHED, "rotations=2"), _of_matching),
    "match, sparse": Subject(
        "match.py", (*_CACHED, "rotations=2", "pairs=[[2,3],[3,4],[4,5]]", "matcher.solver=sparse"), _of_matching
    ),
    "validate": Subject(
        "validate.py",
        (
            *FAST,
            *_CACHED,
            "logger=none",
            "sae=bundled_seed_100",
            "evaluation.arms=[matched,coactivation,mean]",
            "evaluation.rotations=2",
            "report.contexts=1",
        ),
        _of_validation,
    ),
    "train": Subject(
        "train.py",
        (
            *_RUN,
            *_TEXT,
            "training=saes",
            "training.layers=[3]",
            "training.l0=[6]",
            "training.d_sae=64",
            "training.steps=40",
            "training.batch=128",
            "training.tokens=3000",
            "training.context=64",
            "training.crops=8",
            "training.checkpoint_every=10",
            "trainer.progress=false",
            "logger=none",
            "destination=saes",
        ),
        _of_training,
    ),
    "judge": Subject(
        "judge.py",
        (
            *_CACHED,
            "text.documents=4",
            "text.max_tokens=64",
            "study.paths=10",
            "study.layers=3",
            "study.rotations=2",
            "logger=none",
            "judge=openai",
            "judge.model=a-model",
            "judge.base_url={server}",
            "judge.concurrency=4",
        ),
        _of_judging,
        asks=True,
    ),
    "report": Subject("report.py", (*_RUN, "runs={runs}", "logger=none"), _of_report),
}


@dataclass(frozen=True)
class Places:
    """What stands for the words of subjects.

    Attributes:
        words: By name.
        server: That judges ask.
    """

    words: Mapping[str, str]
    server: MiniServer


@contextmanager
def places(folder: Path, names: Collection[str]) -> Iterator[Places]:
    """Text, finished runs and a server, for as long as the block lasts.

    Args:
        folder: An empty one.
        names: Of the subjects that they are for.
    """
    text, runs = folder / "text", folder / "runs"
    text.mkdir()
    for file in sorted((ROOT / "src" / "sae_match").rglob("*.py")):
        (text / f"{'_'.join(file.relative_to(ROOT).parts)}.txt").write_text(file.read_text("utf-8"), "utf-8")
    for matcher in ("folded", "unfolded") if "report" in names else ():
        told = (
            *FAST,
            PLAIN,
            "logger=none",
            "sae=bundled_seed_100",
            "evaluation.arms=[matched,mean]",
            "report.contexts=0",
        )
        cached = (f"cache_dir={folder}/cache", f"hydra.run.dir={runs}/{matcher}", "evaluation.rotations=1")
        run("validate.py", *told, *cached, f"matcher={matcher}", folder=folder)
    with MiniServer(same_words) as server:
        # Programs that are killed while they ask leave connections behind: no news here.
        server.server.handle_error = lambda *_: None
        yield Places({"text": str(text), "runs": str(runs), "server": server.url}, server)
