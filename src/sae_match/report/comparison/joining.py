"""Runs side by side: what tells them apart, what they are called, what has to be said about them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_match.report.comparison.studies import studies, whole
from sae_match.report.comparison.wording import shown, words
from sae_match.report.runs import Run, Setting

# A run's numbers are of a model and a text: only runs with the same may stand in one table.
_MODEL = ("model.source", "model.revision", "model.dtype")
_TEXT = "text.datasets"
# These change where and how a run is computed or kept, not what it finds. Arms and distances say how much of
# a study a run has measured.
_ASIDE = (
    "cache_dir",
    "check",
    "descriptions",
    "evaluation.arms",
    "evaluation.memory",
    "evaluation.pairs",
    "evaluation.spans",
    "logger",
    "matcher.device",
    "matcher.memory",
    "model.device_map",
    "output_dir",
    "pairs",
    "report",
    "text.batch",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.progress",
    "trainer.strategy",
)


@dataclass(frozen=True)
class Joined:
    """Runs of one model on one kind of text.

    Attributes:
        runs: At least one; runs that measured parts of one study are one.
        names: The folder of each, as seen from the folder that holds all; of a study, those of its parts.
        differing: For each setting that is not the same in all of them, its value in each.
        labels: What differs, in words: `matcher=folded, text.seed=1`; unlike each other.
        about: Model and text, or what tells them from those of the other runs.
        notes: What has to be said: runs that were put together, that have the same settings, or that lack layers.
    """

    runs: Sequence[Run]
    names: Sequence[str]
    differing: Mapping[str, Sequence[Setting]]
    labels: Sequence[str]
    about: str
    notes: Sequence[str]

    def settings(self, run: int) -> dict[str, Setting]:
        """What tells a run apart, by name."""
        return {name: values[run] for name, values in self.differing.items()}

    def told(self, run: int) -> dict[str, Setting]:
        """As `settings`; with the run's folder where other runs have the same ones. Nothing of a single run."""
        settings = [words(self.settings(number)) for number in range(len(self.runs))]
        alike = len(set(settings)) < len(settings)
        return {**({"run": self.names[run]} if alike else {}), **self.settings(run)}


def join(runs: Sequence[Run]) -> list[Joined]:
    """Runs by model and text, in the order of their first ones."""
    kinds: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        kinds.setdefault(_kind(run), []).append(run)
    names = dict(zip(map(id, runs), _names([run.folder for run in runs]), strict=True))
    firsts = [group[0] for group in kinds.values()]
    between = _differing(firsts, filter(_makes_kind, _every_name(firsts)))
    joined = []
    for number, group in enumerate(kinds.values()):
        told = {name: values[number] for name, values in between.items()} or {
            name: group[0].choices.get(name) for name in ("model", "text")
        }
        joined.append(_joined(group, [names[id(run)] for run in group], words(told)))
    return joined


def _joined(runs: Sequence[Run], names: Sequence[str], about: str) -> Joined:
    tells = (name for name in _every_name(runs) if not _makes_kind(name) and not is_below(name, _ASIDE))
    differing = _differing(runs, tells)
    told = [words({name: values[number] for name, values in differing.items()}) for number in range(len(runs))]
    parts = studies(runs, told)
    notes = [
        f"{_listed([names[one] for one in part])} have the same settings and other arms or distances: "
        "one run of them all, in which every number is once"
        for part in parts
        if len(part) > 1
    ]
    firsts = [part[0] for part in parts]
    names = [" + ".join(names[one] for one in part) for part in parts]
    runs = [whole([runs[one] for one in part]) for part in parts]
    differing = {name: [values[first] for first in firsts] for name, values in differing.items()}
    told = [told[first] for first in firsts]
    labels = _numbered([settings or name for settings, name in zip(told, names, strict=True)])
    return Joined(runs, names, differing, labels, about, [*notes, *_repeated(told, names), *_lacking(runs, labels)])


def _repeated(told: Sequence[str], names: Sequence[str]) -> list[str]:
    """A line for settings that several runs have."""
    return [
        f"{count} runs have the same settings{f' ({same})' if same else ''}, each is kept: "
        + ", ".join(name for settings, name in zip(told, names, strict=True) if settings == same)
        for same, count in Counter(told).items()
        if count > 1
    ]


def _kind(run: Run) -> tuple[object, ...]:
    return tuple(sorted((name, shown(value)) for name, value in run.settings.items() if _makes_kind(name)))


def _makes_kind(name: str) -> bool:
    return name in _MODEL or is_below(name, (_TEXT,))


def is_below(name: str, above: Iterable[str]) -> bool:
    """Whether a setting is one of some, or a part of one."""
    return any(name == one or name.startswith(f"{one}.") for one in above)


def _every_name(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.settings))


def _differing(runs: Sequence[Run], names: Iterable[str]) -> dict[str, Sequence[Setting]]:
    """Settings that differ; those that a choice of their group explains are told by the choice."""
    found: dict[str, Sequence[Setting]] = {}
    for name in names:
        values = [run.settings.get(name) for run in runs]
        if len(set(map(shown, values))) > 1:
            group = name.split(".")[0]
            choices = [run.choices.get(group) for run in runs]
            explained = _follows(values, choices) and not any(is_below(name, run.given) for run in runs)
            found |= {group: choices} if explained else {name: values}
    return found


def _follows(values: Sequence[Setting], choices: Sequence[Setting]) -> bool:
    """Whether each choice comes with one value."""
    return len(set(zip(choices, map(shown, values), strict=True))) == len(set(choices)) > 1


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _numbered(labels: Sequence[str]) -> list[str]:
    count, seen = Counter(labels), Counter[str]()
    numbered = []
    for label in labels:
        seen[label] += 1
        numbered.append(f"{label} ({seen[label]})" if count[label] > 1 else label)
    return numbered


def _names(folders: Sequence[Path]) -> list[str]:
    """Folders as seen from the one that holds all of them; a single one by its own name."""
    absolute = [folder.absolute() for folder in folders]
    common = Path(os.path.commonpath([folder.parent for folder in absolute]))
    return [folder.relative_to(common).as_posix() for folder in absolute]


def _lacking(runs: Sequence[Run], labels: Sequence[str]) -> list[str]:
    """A line for each run that lacks pairs of layers that another one has, at a distance that it has."""
    pairs = [{(row.source_layer, row.target_layer) for row in run.results} for run in runs]
    notes = []
    for label, own in zip(labels, pairs, strict=True):
        distances = {target - source for source, target in own}
        lacks = sorted(pair for pair in set().union(*pairs) - own if pair[1] - pair[0] in distances)
        if lacks:
            which = ", ".join(f"{source}→{target}" for source, target in lacks)
            notes.append(f"{label} has no results of layers {which}: its means are over fewer pairs")
    return notes
