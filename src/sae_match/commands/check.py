"""What a validation, or steering, would need and take, in place of it: no lightning, no W&B, and nothing is run."""

import re
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.check import Findings, check
from sae_match.evaluation.passes.costs import several
from sae_match.evaluation.provenance.beforehand import check_modules
from sae_match.evaluation.provenance.sources import SOURCES, Source
from sae_match.evaluation.steering.beforehand import check_steering
from sae_match.saes.collection import SAECollection
from sae_match.saes.two import Collections, collections_of
from sae_match.settings.schema import ValidateSettings
from sae_match.terminal import Terminal, say

_OF_LAYER = re.compile(r"SAEs: SAE of layer \S+: ")


def main(settings: ValidateSettings) -> None:
    """Print what the run would need and take.

    Raises:
        SystemExit: With status 1 if something is missing.
    """
    saes = collections_of(settings.sae, settings.target, settings.models)
    evaluation, text = settings.evaluation, settings.text
    if settings.steers:
        # Groups are of judged matchings; no text is read but the documents that directions are added to.
        rotations = evaluation.rotations if settings.groups.asked else 0
        evaluation = replace(evaluation, arms=[MATCHED], rotations=rotations, relations=False)
        text = replace(text, documents=min(text.documents, settings.steering.documents))
    findings = check(
        settings.model,
        saes,
        settings.matcher,
        text,
        evaluation,
        settings.target_model,
        measures=not settings.steers,
    )
    if settings.steers and isinstance(saes, SAECollection):
        check_steering(findings, saes, settings.steering, settings.groups, evaluation.rotations)
    if settings.modules:
        check_modules(findings, *of_one_collection(settings, saes), settings.evaluation.rotations)
    _print(Terminal(), findings)
    if findings.missing:
        raise SystemExit(1)


def of_one_collection(
    settings: ValidateSettings, saes: Collections
) -> tuple[SAECollection, dict[Source, SAECollection]]:
    """The collection whose features are asked about, and those of what modules add.

    Raises:
        UserError: If pairs lead to another collection.
    """
    if not isinstance(saes, SAECollection):
        raise UserError("where features come from is asked of one collection: leave target and target_model out")
    named = settings.modules
    return saes, {name: SAECollection.of(named[name]) for name in SOURCES if name in named}


def _print(console: Console, findings: Findings) -> None:
    """The rows, and what is missing."""
    say(console, ("Check", "bold"), ": nothing was downloaded but metadata")
    width = max((len(name) for name, _ in findings.rows), default=0)
    for name, value in findings.rows:
        say(console, f"  {name:<{width}}  {value}")
    for line in _told_once(findings.missing):
        say(console, "  ", ("missing", "red"), f"  {line}")
    say(console, "  everything is there" if not findings.missing else "")


def _told_once(lines: Sequence[str]) -> list[str]:
    """Lines of which those that differ in the layer alone are one."""
    alike: dict[str, list[str]] = {}
    for line in lines:
        found = _OF_LAYER.match(line)
        alike.setdefault(line if found is None else line[found.end() :], []).append(line)
    more = {one[0]: len(one) - 1 for one in alike.values()}
    return [line + (f" (and {several(number, 'more layer')} alike)" if number else "") for line, number in more.items()]
