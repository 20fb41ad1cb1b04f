"""Whether the SAEs of modules are there and fit, before a run asks where features come from."""

from collections.abc import Mapping

from sae_match.errors import UserError
from sae_match.evaluation.check import Findings
from sae_match.evaluation.passes.memory import size_of
from sae_match.evaluation.provenance.fit import refuse_unfit, refuse_unwritten
from sae_match.evaluation.provenance.sources import Source
from sae_match.hub import UnansweredError
from sae_match.saes.collection import SAECollection
from sae_match.saes.sae import TRANSCODING


def check_modules(
    findings: Findings, residual: SAECollection, modules: Mapping[Source, SAECollection], rotations: int
) -> None:
    """Note which SAEs of modules a run would read, and what is missing of them.

    Args:
        findings: Where it is noted.
        residual: SAEs of the residual stream.
        modules: SAEs of what modules add.
        rotations: Random dictionaries that nearest rows are held against.
    """
    try:
        refuse_unfit(residual, modules, rotations)
    except UserError as error:
        findings.missing.append(f"provenance: {error}")
    for name, collection in modules.items():
        there = 0
        layers = sorted(set(collection.layers) & set(residual.layers))
        for layer in layers:
            try:
                described = collection.describe_sae(layer)
                refuse_unwritten(name, collection, layer, described.unmeasurable == TRANSCODING)
                there += sum(file.bytes for file in collection.files(layer))
            except UnansweredError:
                raise
            except UserError as error:
                findings.missing.append(f"{name}: {error}")
        many = f"{len(layers)} layer{'s' * (len(layers) != 1)}"
        findings.rows.append((f"{name} SAEs", f"{collection.source}: {many}, {size_of(there)}"))
