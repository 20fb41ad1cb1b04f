"""Finished validations below folders: what they were told, what they found."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sae_match.errors import UserError
from sae_match.evaluation.statistics.results import Results, SpanResult, load_spans
from sae_match.report.sweeps import ERROR_FILE, group_name, sweep_folder

Setting = str | int | float | bool | None
"""A value of a run's config; a list is its JSON text."""

_CONFIG = Path(".hydra") / "config.yaml"
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
    """

    folder: Path
    settings: Mapping[str, Setting]
    choices: Mapping[str, str | None]
    given: frozenset[str]
    results: Results
    spans: Sequence[SpanResult]
    group: str | None


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
        except (ValueError, OmegaConfBaseException) as error:
            unfinished.append(Unfinished(folder, str(error).splitlines()[0]))
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
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
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
        config = _load(file)
    except UserError:
        # Perhaps; reading it says what is wrong with it.
        return True
    return all(key in config for key in _VALIDATION) and not config.get("check")


def _load(file: Path) -> DictConfig:
    try:
        config = OmegaConf.load(file)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{file} holds no settings")
    return config


def _read(folder: Path) -> Run:
    failed = folder / ERROR_FILE
    if failed.is_file():
        raise UserError(failed.read_text(encoding="utf-8").strip() or "failed")
    config, hydra = _load(folder / _CONFIG), _load(folder / ".hydra" / "hydra.yaml")
    for name in ("results.csv", "spans.csv"):
        if not (folder / name).is_file():
            raise UserError(f"no {name}, it is not finished")
    results, spans = Results.load(folder / "results.csv"), load_spans(folder / "spans.csv")
    if not spans or not len(results):
        raise UserError("results.csv and spans.csv hold no arm")
    settings = dict(_flat(OmegaConf.to_container(config, resolve=False), ""))
    try:
        overrides = [str(override).lstrip("+~").split("=")[0] for override in hydra.hydra.overrides.task]
        choices = {group: choice for group, choice in hydra.hydra.runtime.choices.items() if group in config}
        group = _group(settings.get("logger.group"), hydra)
    except (AttributeError, TypeError) as error:
        raise UserError(f"{folder / '.hydra' / 'hydra.yaml'} is cut short: {error}") from error
    given = frozenset(name for name in overrides if name not in choices)
    return Run(folder, settings, choices, given, results, spans, group)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Setting]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value) if isinstance(value, list | dict) else value


def _group(given: Setting, hydra: DictConfig) -> str | None:
    """The W&B group that the run was logged in: the one that was given, or that of its sweep."""
    if given is not None and not str(given).startswith("${"):
        return str(given)
    if hydra.hydra.mode != "MULTIRUN":
        return None
    job = Path(hydra.hydra.runtime.output_dir)
    return group_name(sweep_folder(job, str(hydra.hydra.sweep.subdir)), Path(hydra.hydra.runtime.cwd))
