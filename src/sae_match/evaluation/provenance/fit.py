"""Whether collections of SAEs read what they are named for."""

from collections.abc import Mapping

from sae_match.errors import UserError
from sae_match.evaluation.provenance.sources import Source
from sae_match.saes.collection import SAECollection
from sae_match.saes.sites import Site

#: Sites whose SAEs say what a module adds.
_SITES: Mapping[Source, tuple[Site, ...]] = {"mlp": ("mlp",), "attention": ("attention", "attention_output")}


def refuse_unfit(residual: SAECollection, modules: Mapping[Source, SAECollection], rotations: int) -> None:
    """Check that collections read what they are named for.

    Raises:
        UserError: If one does not, there is none of a module, or nothing can be held against chance.
    """
    if not modules:
        raise UserError("where features come from is asked of what modules add: name mlp=… or attention=…")
    if residual.site != "residual":
        raise UserError(f"where features come from is asked of the residual stream; sae reads the site {residual.site}")
    for name, collection in modules.items():
        collection.refuse_none(name)
        if collection.site not in _SITES[name]:
            raise UserError(
                f"{name}={collection.source} reads the site {collection.site}; {name}.site must be "
                f"{' or '.join(_SITES[name])}"
            )
        if not set(collection.layers) & set(residual.layers):
            raise UserError(f"{name}={collection.source} has an SAE of no layer that sae has one of")
    if not rotations:
        raise UserError("which rows are alike is judged against chance: set evaluation.rotations to at least 1")
