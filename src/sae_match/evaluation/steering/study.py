"""Steering along the paths of chosen features, over a text."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import get_args

import pyarrow as pa
import torch

from sae_match.errors import UserError
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.steering.adding import Adding, Strengths
from sae_match.evaluation.steering.measures import Row, SteeredPath, by_dataset, rows_of
from sae_match.evaluation.steering.paths import Paths
from sae_match.evaluation.steering.settings import WHERE, refuse_impossible_steering
from sae_match.evaluation.steering.typical import typical_activations
from sae_match.model.fit import refuse_layers_beyond, refuse_other_width
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)


@torch.no_grad()
def steered(
    stream: ResidualStream,
    saes: Callable[[int], SAE],
    paths: Paths,
    features: Sequence[tuple[int, int]],
    batches: Sequence[TokenBatch],
    *,
    strengths: Sequence[float] = (1.0,),
    where: Sequence[str] = WHERE,
    seed: int = 0,
    blocks: Blocks | None = None,
    watch: Callable[[int, int], None] = lambda *_: None,
) -> pa.Table:
    """Steer along the path of each feature; what happens to later features and to the next token, a row a number.

    Args:
        stream: The language model.
        saes: Gives the SAE of a layer, where the model is.
        paths: How features are linked.
        features: Where paths begin: layer and feature.
        batches: The text.
        strengths: Multiples of a feature's typical activation.
        where: At which layers directions are added; see `SteeringSettings`.
        seed: Of draws and intervals.
        blocks: How much is computed at one time.
        watch: Told how many batches of all are done.

    Returns:
        A table with the columns of `measures.Row`.

    Raises:
        UserError: If no path begins at a feature, none is active in the text, or SAEs and model do not fit each other.
    """
    refuse_impossible_steering(strengths, where)
    for layer, feature in features:
        paths.refuse_pathless(layer, feature)
    refuse_layers_beyond(stream, paths.layers)
    for layer in paths.layers:
        refuse_other_width(stream, "residual", layer, saes(layer).d_in)
    _refuse_other_features(paths, saes)
    typical = typical_activations(stream, saes, paths.layers, batches)
    active = [one for one in features if bool(typical[one[0]][one[1]].isfinite())]
    for layer, feature in (one for one in features if one not in active):
        log.warning("feature %d of layer %d is active nowhere in the text: it is not steered", feature, layer)
    if not active:
        raise UserError(
            "no feature to steer is active anywhere in the text, so that there is no typical activation to add: take "
            "more text, or other features"
        )
    added = Strengths(typical, strengths, where, seed)
    found: list[SteeredPath] = []
    for number, batch in enumerate(batches):
        adding = Adding(stream, saes, paths, added, batch, blocks)
        for start in active:
            first = torch.tensor([start[1]])
            both = [paths.followed(start[0], first, nearest=near)[0] for near in (False, True)]
            found.append(
                SteeredPath(
                    start,
                    paths.after(start[0]),
                    batch.dataset,
                    tuple(batch.documents),
                    adding.of(start),
                    torch.stack(both),
                    float(typical[start[0]][start[1]]),
                    tuple(where),
                    tuple(float(one) for one in strengths),
                )
            )
        watch(number + 1, len(batches))
    return table_of(list(rows_of(list(by_dataset(found).values()), seed)))


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Numbers as a table."""
    kinds = {int: pa.int32(), str: pa.string(), float: pa.float64()}
    # Columns that may be empty are of a kind or none.
    schema = pa.schema([(one.name, kinds[(*get_args(one.type), one.type)[0]]) for one in fields(Row)])
    return pa.Table.from_pylist([asdict(row) for row in rows], schema)


def _refuse_other_features(paths: Paths, saes: Callable[[int], SAE]) -> None:
    """Check that matchings are of SAEs as wide as these."""
    for source, target, link in zip(paths.layers, paths.layers[1:], paths.matched, strict=False):
        widths = saes(source).d_sae, saes(target).d_sae
        reached = int(link.permutation.max()) if len(link.permutation) else -1
        if len(link.permutation) != widths[0] or reached >= widths[1]:
            raise UserError(
                f"the matching of layers {source} and {target} is of {len(link.permutation)} features and leads to "
                f"feature {reached}; the SAEs have {widths[0]} and {widths[1]}"
            )
