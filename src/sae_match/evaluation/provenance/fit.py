"""Whether collections of SAEs read what they are named for."""

from collections.abc import Mapping

from sae_match.errors import UserError
from sae_match.evaluation.provenance.sources import Source
from sae_match.saes.collection import SAECollection
from sae_match.saes.sites import Matched, Site

#: Sites whose dictionaries say what a module adds: SAEs read it, transcoders write it.
_SITES: Mapping[Source, tuple[Site | Matched, ...]] = {
    "mlp": ("mlp", "mlp_input"),
    "attention": ("attention", "attention_output"),
}


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


def refuse_unwritten(name: Source, collection: SAECollection, layer: int, transcodes: bool) -> None:
    """Check that what a dictionary decodes is what its module adds: of those that read what an MLP reads, transcoders.

    Args:
        name: Of the module.
        collection: Dictionaries of it.
        layer: Whose.
        transcodes: Whether that is a transcoder.

    Raises:
        UserError: If it is not.
    """
    if collection.site == "mlp_input" and not transcodes:
        raise UserError(
            f"{name}={collection.source} reads what the MLP of layer {layer} reads, and is no transcoder: what it "
            "decodes is not what the MLP adds"
        )
