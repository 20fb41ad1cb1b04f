"""What models call their layers and the places in them: names of modules, and of the tensors in their files.

The one table of names: `anatomy` looks for them in a loaded model, `headers` in files that are not read.
"""

from collections.abc import Callable

from sae_match.saes.sites import Site, checked_site

#: Names that the list of decoder layers has.
LAYERS = ("layers", "h")
#: Names of the norm behind the last layer.
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")

_MLP_OUTPUTS = ("post_feedforward_layernorm", "mlp")
_HEAD_PROJECTIONS = ("self_attn.o_proj", "attn.c_proj", "attention.dense")
_NORM_OF_ATTENTION = "post_attention_layernorm"
_NORMS_OF_MLP = ("pre_feedforward_layernorm", "post_feedforward_layernorm")


def candidates(site: Site) -> tuple[str, ...]:
    """Names, within a decoder layer, of the modules that a site may stand at, the one to be preferred first.

    Raises:
        UserError: If there is no such site.
    """
    return _MLP_OUTPUTS if checked_site(site) == "mlp" else _HEAD_PROJECTIONS


def module_of(site: Site, has: Callable[[str], bool]) -> str | None:
    """Name, within a decoder layer, of the module at which a site's value stands.

    Args:
        site: The site.
        has: Whether the layer has a module of a name, a path such as `self_attn.o_proj`.

    Returns:
        Empty for the layer itself, none if it has no such place.

    Raises:
        UserError: If there is no such site.
    """
    if site in ("residual", "residual_before"):
        return ""
    # The norm that an attention's output goes through: where there is one, another stands before the MLP.
    if site == "attention_output" and any(map(has, _NORMS_OF_MLP)) and has(_NORM_OF_ATTENTION):
        return _NORM_OF_ATTENTION
    return next(filter(has, candidates(site)), None)
