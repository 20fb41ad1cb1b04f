"""What a validation would need and take, in place of it: no lightning, no W&B, and nothing is run."""

from sae_match.errors import UserError
from sae_match.evaluation.check import check, print_findings
from sae_match.evaluation.provenance.beforehand import check_modules
from sae_match.evaluation.provenance.sources import SOURCES, Source
from sae_match.saes.collection import SAECollection
from sae_match.saes.two import Collections, collections_of
from sae_match.settings.schema import ValidateSettings
from sae_match.terminal import Terminal


def main(settings: ValidateSettings) -> None:
    """Print what the run would need and take.

    Raises:
        SystemExit: With status 1 if something is missing.
    """
    saes = collections_of(settings.sae, settings.target, settings.models)
    findings = check(settings.model, saes, settings.matcher, settings.text, settings.evaluation, settings.target_model)
    if settings.modules:
        check_modules(findings, *of_one_collection(settings, saes), settings.evaluation.rotations)
    print_findings(Terminal(), findings)
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
