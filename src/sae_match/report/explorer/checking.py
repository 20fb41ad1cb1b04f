"""Refusals of what the explorer cannot show."""

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise

import torch

from sae_match.errors import UserError
from sae_match.report.explorer.data import Context, ExplorerData, LayerData, RelationsData, StepData


def refuse_inconsistent(data: ExplorerData) -> None:
    """Refuse layers and steps that do not fit together.

    Raises:
        UserError: If there are no layers, they are not in ascending order, a step does not join layers that
            follow each other, a matching is not one-to-one, numbers are not one a feature, or relations are of others.
    """
    numbers = [layer.layer for layer in data.layers]
    if not numbers:
        raise UserError("the explorer has no layer to show")
    if numbers != sorted(set(numbers)) or numbers[0] < 0:
        raise UserError(f"the explorer's layers must be in ascending order, each once, got {numbers}")
    for layer in data.layers:
        if not layer.d_sae == len(layer.mean_activation) == len(layer.labels):
            raise UserError(
                f"layer {layer.layer}: {layer.d_sae} counts of active tokens, {len(layer.mean_activation)} mean "
                f"activations and {len(layer.labels)} labels; there must be one of each a feature"
            )
    by_number = {layer.layer: layer for layer in data.layers}
    following = list(pairwise(numbers))
    seen = set()
    for step in data.steps:
        pair = step.source_layer, step.target_layer
        if pair not in following or pair in seen:
            why = "is given twice" if pair in seen else "does not join layers that follow each other"
            raise UserError(f"the step from layer {pair[0]} to layer {pair[1]} {why}; layers are {numbers}")
        seen.add(pair)
        _refuse_step(step, by_number)
    for one in data.relations:
        _refuse_relations(one, by_number)


def _refuse_relations(given: RelationsData, layers: Mapping[int, LayerData]) -> None:
    name = f"relations of layer {given.source_layer} to layer {given.target_layer}"
    if not {given.source_layer, given.target_layer} <= layers.keys():
        raise UserError(f"{name}: layers are {list(layers)}")
    widths = layers[given.source_layer].d_sae, layers[given.target_layer].d_sae
    found = len(given.relations.source_p), len(given.relations.target_p)
    if found != widths:
        raise UserError(f"{name}: of {found[0]} and {found[1]} features, the layers have {widths[0]} and {widths[1]}")
    for dataset, overlap in given.overlaps.items():
        measured = len(overlap.containment.value), len(overlap.coverage.value)
        if measured != (edges := len(given.relations.edges), components := len(given.relations.components.kind)):
            raise UserError(
                f"{name}: {measured[0]} edges and {measured[1]} components measured on {dataset}, "
                f"there are {edges} and {components}"
            )


def _refuse_step(step: StepData, layers: Mapping[int, LayerData]) -> None:
    name = f"the step from layer {step.source_layer} to layer {step.target_layer}"
    source, target = layers[step.source_layer].d_sae, layers[step.target_layer].d_sae
    for what in ("permutation", "cost", "encoder_cosine", "decoder_cosine", "both"):
        found = len(getattr(step, what))
        if found != source:
            raise UserError(f"{name}: {found} values of {what} for {source} source features")
    for what in () if step.evidence is None else [part.name for part in fields(step.evidence)]:
        found = len(getattr(step.evidence, what))
        if found != source:
            raise UserError(f"{name}: {found} values of {what} for {source} source features")
    partners = step.permutation[step.permutation >= 0]
    if len(partners) and int(partners.max()) >= target:
        raise UserError(f"{name}: feature {int(partners.max())} is beyond the {target} target features")
    if len(torch.unique(partners)) != len(partners):
        raise UserError(f"{name}: the matching is not one-to-one")


def refuse_context(context: Context, layer: int, feature: int) -> None:
    """Refuse a context whose marked token is not among its tokens.

    Raises:
        UserError: If it is not.
    """
    if not 0 <= context.position < len(context.tokens):
        raise UserError(
            f"feature {feature} of layer {layer}: a context of {len(context.tokens)} tokens cannot mark "
            f"token {context.position}"
        )


def refuse_link(link: str, layer: int, feature: int) -> None:
    """Refuse an address that is not a page of the web: in a page, `javascript:` would be run.

    Raises:
        UserError: If it is not.
    """
    if not link.startswith(("https://", "http://")):
        raise UserError(f"feature {feature} of layer {layer}: the link {link!r} must start with https:// or http://")
