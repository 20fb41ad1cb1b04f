"""Finished validations below folders: what they were told, what they found."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_match.errors import UserError
from sae_match.evaluation.statistics.replicates import FILE as REPLICATES
from sae_match.evaluation.statistics.results import Results, SpanResult, load_spans
from sae_match.files import refuse_no_folder
from sae_match.report.foreign import at, refuse_no_names, settings_in, table_in
from sae_match.report.sweeps import ERROR_FILE, group_name, sweep_folder
from sae_match.strings import in_a_line, reason_of

Setting = str | int | float | bool | None
"""A value of a run's config; a list is its JSON text."""

_CONFIG, _HYDRA = (Path(".hydra") / name for name in ("config.yaml", "hydra.yaml"))
# Characters of what a run that failed says of it.
_LONGEST_REASON = 500
# What makes a config one of a validation.
_VALIDATION = ("model", "sae", "matcher", "text", "evaluation")


@dataclass(frozen=True)
class Run:
    """A finished validation.

    Attributes:
        folder: Its files are there.
        settings: Every value of its config, by dotted name.
        choices: For each group of configs, the choice: `{"matcher": "folded", …}`.
        given: Dotted names of what it was told by hand or by its sweep, choices not included.
        results: Every number, of at least one pair of layers.
        spans: Means over pairs of layers at the same distance.
        group: W&B group of its sweep, none where it is no part of one.
        replicates: Files with the replicates of its numbers; of a study in parts, those of the parts.
    """

    folder: Path
    settings: Mapping[str, Setting]
    choices: Mapping[str, str | None]
    given: frozenset[str]
    results: Results
    spans: Sequence[SpanResult]
    group: str | None
    replicates: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Unfinished:
    """A folder of a validation that has not come to its end, and why."""

    folder: Path
    reason: str


def find_runs(folders: Iterable[Path]) -> tuple[list[Run], list[Unfinished]]:
    """Validations in folders and anywhere below them, each once, in the order of their jobs.

    Raises:
        UserError: If a folder does not exist, or there is no finished validation at all.
    """
    asked = list(folders)
    runs: list[Run] = []
    unfinished: list[Unfinished] = []
    for folder in _validations(asked):
        try:
            runs.append(_read(folder))
        except (ValueError, OSError) as error:
            unfinished.append(Unfinished(folder, reason_of(error)))
    if not runs:
        found = "".join(f"; {one.folder}: {one.reason}" for one in unfinished)
        raise UserError(
            f"no finished validation in {', '.join(map(str, asked)) or 'no folder'}: "
            f"one has {_CONFIG}, results.csv and spans.csv{found}"
        )
    return runs, unfinished


def _validations(folders: Iterable[Path]) -> Iterator[Path]:
    """Folders of validations, each once; those of other programs, or that only checked, are passed over."""
    seen: set[Path] = set()
    for folder in folders:
        refuse_no_folder(folder)
        for config in sorted(folder.rglob(str(_CONFIG)), key=_natural):
            place = config.parents[1]
            if place.resolve() not in seen and _is_validation(config):
                seen.add(place.resolve())
                yield place


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order in which job 10 comes after job 9."""
    parts = (part for piece in path.parts for part in re.split(r"(\d+)", piece))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _is_validation(file: Path) -> bool:
    try:
        config = settings_in(file)
    except UserError:
        # Perhaps; reading it says what is wrong with it.
        return True
    return all(key in config for key in _VALIDATION) and not config.get("check")


def _read(folder: Path) -> Run:
    failed = folder / ERROR_FILE
    if failed.is_file():
        raise UserError(in_a_line(failed.read_text(encoding="utf-8", errors="replace"), _LONGEST_REASON) or "failed")
    config, hydra = settings_in(folder / _CONFIG), settings_in(folder / _HYDRA)
    for name in ("results.csv", "spans.csv"):
        if not (folder / name).is_file():
            raise UserError(f"no {name}, it is not finished")
    results = table_in(Results.load, folder / "results.csv")
    spans = table_in(load_spans, folder / "spans.csv")
    if not spans or not len(results):
        raise UserError("results.csv and spans.csv hold no arm")
    refuse_no_names(results, folder / "results.csv")
    refuse_no_names(spans, folder / "spans.csv")
    settings = dict(_flat(config, ""))
    try:
        overrides = [str(override).lstrip("+~").split("=")[0] for override in at(hydra, "hydra.overrides.task")]
        choices = {
            str(group): None if choice is None else str(choice)
            for group, choice in at(hydra, "hydra.runtime.choices").items()
            if group in config
        }
        group = _group(settings.get("logger.group"), hydra)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{folder / _HYDRA} is cut short: {reason_of(error)}") from error
    given = frozenset(name for name in overrides if name not in choices)
    replicates = (folder / REPLICATES,) if (folder / REPLICATES).is_file() else ()
    return Run(folder, settings, choices, given, results, spans, group, replicates)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Setting]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value) if isinstance(value, list | dict) else value


def _group(given: Setting, hydra: Mapping[str, Any]) -> str | None:
    """The W&B group that the run was logged in: the one that was given, or that of its sweep."""
    if given is not None and not str(given).startswith("${"):
        return str(given)
    if at(hydra, "hydra.mode") != "MULTIRUN":
        return None
    job, subdir = Path(at(hydra, "hydra.runtime.output_dir")), str(at(hydra, "hydra.sweep.subdir"))
    return group_name(sweep_folder(job, subdir), Path(at(hydra, "hydra.runtime.cwd")))
