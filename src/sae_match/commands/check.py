"""What a validation would need and take, in place of it: no lightning, no W&B, and nothing is run."""

from sae_match.evaluation.check import check, print_findings
from sae_match.saes.two import collections_of
from sae_match.settings.schema import ValidateSettings
from sae_match.terminal import Terminal


def main(settings: ValidateSettings) -> None:
    """Print what the run would need and take.

    Raises:
        SystemExit: With status 1 if something is missing.
    """
    saes = collections_of(settings.sae, settings.target, settings.models)
    findings = check(settings.model, saes, settings.matcher, settings.text, settings.evaluation, settings.target_model)
    print_findings(Terminal(), findings)
    if findings.missing:
        raise SystemExit(1)
