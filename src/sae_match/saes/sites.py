"""Where in a decoder layer an SAE reads, and what the names that files give to such places mean."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from sae_match.errors import UserError

Site = Literal["residual", "residual_before", "mlp", "attention", "attention_output"]
"""What an SAE reads of a decoder layer: the residual stream after or before it; what its MLP, or its
attention, adds to the residual stream (behind a norm, where the model has one there); or its
concatenated attention heads before they are projected."""
SITES: tuple[Site, ...] = get_args(Site)

Matched = Literal["mlp_input", "residual_middle"]
"""Where dictionaries read that are matched and not evaluated: what the MLP reads, behind its norm, as transcoders do;
and the residual stream between attention and MLP."""
MATCHED_SITES: tuple[Site | Matched, ...] = (*SITES, *get_args(Matched))

# Names of a layer's places in TransformerLens (`blocks.3.…`), transformers (`model.layers.3.…`) and
# dictionary_learning (`…_layer_3`).
_PLACES: dict[str, Site | Matched] = {
    "hook_resid_post": "residual",
    "hook_resid_pre": "residual_before",
    "hook_mlp_out": "mlp",
    "hook_attn_out": "attention_output",
    "attn.hook_z": "attention",
    "hook_resid_mid": "residual_middle",
    "hook_mlp_in": "mlp_input",
    "mlp.hook_in": "mlp_input",
    "ln2.hook_normalized": "mlp_input",
    "pre_feedforward_layernorm.output": "mlp_input",
    "pre_feedforward_layernorm": "mlp_input",
    "mlp.input": "mlp_input",
    "": "residual",
    "output": "residual",
    "input": "residual_before",
    "mlp": "mlp",
    "mlp.output": "mlp",
    "post_feedforward_layernorm": "mlp",
    "post_feedforward_layernorm.output": "mlp",
    "self_attn": "attention_output",
    "self_attn.output": "attention_output",
    "self_attn.o_proj": "attention_output",
    "self_attn.o_proj.output": "attention_output",
    "self_attn.o_proj.input": "attention",
    "resid_post": "residual",
    "resid_pre": "residual_before",
    "mlp_out": "mlp",
    "attn": "attention_output",
    "attention": "attention_output",
    "attn_out": "attention_output",
}
_IN_LAYER = re.compile(r"(?:.*\.)?(?:blocks|layers|h)\.(\d{1,4})(?:\.(.+))?")
_OF_LAYER = re.compile(r"([a-z_]+)_layer_(\d{1,4})")


@dataclass(frozen=True)
class Spot:
    """A place of a model.

    Attributes:
        layer: Decoder layer.
        site: Place in it; none where it is one that no site stands for.
    """

    layer: int
    site: Site | Matched | None

    def __str__(self) -> str:
        return f"{self.site} of layer {self.layer}"

    def same(self, other: "Spot") -> bool:
        """Whether both are one place: what a layer leaves is what the next one reads."""
        return self._as_left() == other._as_left()

    def _as_left(self) -> "Spot":
        return Spot(self.layer - 1, "residual") if self.site == "residual_before" else self


def checked_site(name: str) -> Site:
    """A site of SAEs that are measured on text, by its name.

    Raises:
        UserError: If there is none of that name, or nothing can be measured there.
    """
    if name in get_args(Matched):
        raise UserError(
            f"SAEs of the site {name!r} can be matched (match.py, or match), and nothing can be measured of them on "
            f"text; the sites where that can be are {', '.join(SITES)}"
        )
    if name not in SITES:
        raise UserError(f"unknown site {name!r}; there are {', '.join(SITES)}")
    return name


def written_site(name: str) -> Site:
    """Where what dictionaries of a site decode belongs: that of transcoders, which read what an MLP reads, at `mlp`.

    Raises:
        UserError: If there is no such site, or nothing can be measured there.
    """
    return "mlp" if name == "mlp_input" else checked_site(name)


def matched_site(name: str) -> Site | Matched:
    """A site of SAEs that are matched, by its name.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in MATCHED_SITES:
        raise UserError(f"unknown site {name!r}; there are {', '.join(MATCHED_SITES)}")
    return name


def hook_name(site: Site, layer: int) -> str:
    """What TransformerLens calls a site of a layer."""
    return f"blocks.{layer}.{next(name for name, named in _PLACES.items() if named == site)}"


def spot_of(hook: str) -> Spot | None:
    """The place that a hook point names; none if the name is of no scheme that is known here."""
    if match := _IN_LAYER.fullmatch(hook):
        return Spot(int(match[1]), _PLACES.get(match[2] or ""))
    if match := _OF_LAYER.fullmatch(hook):
        return Spot(int(match[2]), _PLACES.get(match[1]))
    return None


def refuse_other_spot(hook: str | None, wanted: Spot) -> None:
    """Check that an SAE reads where it is meant to, as far as its files say where it reads.

    Raises:
        UserError: If it reads elsewhere.
    """
    spot = None if hook is None else spot_of(hook)
    if spot is None or spot.same(wanted):
        return
    if spot.site is None:
        raise UserError(f"the SAE reads {hook}, which is none of the sites {', '.join(MATCHED_SITES)}")
    hint = f"; sae.site={spot.site} says so" if spot.layer == wanted.layer else ""
    raise UserError(f"the SAE reads {hook}, that is {spot}, not {wanted}{hint}")
