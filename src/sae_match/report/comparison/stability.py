"""Which features do other seeds find again? From runs that match one dictionary with several others of its layers."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.relations.stability import StablePart, mean_stability, stability_by
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.matching.layers import significance_file
from sae_match.matching.relations.stability import Stability, stability
from sae_match.matching.significance.result import ALPHA, Significance
from sae_match.report.runs import Run
from sae_match.saes.two import pair_name
from sae_match.strings import is_name, reason_of

# Other dictionaries that there have to be.
_FEWEST = 2
# Columns of a run's tables of pairs.
_FEATURE, _ACTIVE, _NORM = "source_feature", "source_active", "source_norm"
# And what they hold; a table of something else may call its own so.
_KINDS = {_FEATURE: pa.types.is_integer, _ACTIVE: pa.types.is_integer, _NORM: pa.types.is_floating}


@dataclass(frozen=True, eq=False)
class StableLayer:
    """The features of a layer's dictionary, and how many others of that layer have them.

    Attributes:
        layer: Which.
        source: What the collection of the dictionary is called.
        others: What the collections of the others are called.
        stability: Of each feature.
        active: Tokens of all datasets on which each was active; nan where that is not known.
        norm: Folded norm of each one's decoder row; likewise.
        alpha: Level at which a feature has a partner.
    """

    layer: int
    source: str
    others: tuple[str, ...]
    stability: Stability
    active: Float64[Tensor, " features"]
    norm: Float64[Tensor, " features"]
    alpha: float

    @property
    def name(self) -> str:
        """Layer and collection."""
        return f"layer {self.layer}, {self.source}"

    @property
    def mean(self) -> Estimate:
        """Mean share of the others that have a feature, with an interval over features."""
        return mean_stability(self.stability, population=self.name)

    def by(self, values: Float64[Tensor, " features"]) -> list[StablePart]:
        """Mean share by fifths of a value, the smallest first."""
        return stability_by(self.stability, values, population=self.name)

    def rows(self) -> Iterator[dict[str, object]]:
        """A row for each feature that was tested."""
        columns = (self.stability.seeds, self.stability.found, self.active, self.norm)
        for feature, (seeds, found, active, norm) in enumerate(zip(*(each.tolist() for each in columns), strict=True)):
            if seeds:
                yield {
                    "source_layer": self.layer,
                    "source_collection": self.source,
                    "feature": feature,
                    "others": seeds,
                    "found_in": found,
                    "share": found / seeds,
                    "active": _known(active),
                    "norm": _known(norm),
                }


def stable_layers(runs: Sequence[Run]) -> tuple[list[StableLayer], list[str]]:
    """Layers whose dictionary was matched with at least two others of the same layer, and what has to be said.

    Runs are of one dictionary where the matchings that they have left come from the same SAE, by the same matcher, and
    say at the same level what has a partner. What cannot be read is said and left out.

    Args:
        runs: Finished.
    """
    found: dict[tuple[int, str, str], dict[str, _Other]] = {}
    notes: list[str] = []
    for run in runs:
        for layer, names in _same_layers(run):
            file = significance_file(run.folder, (layer, layer), names)
            if not file.is_file():
                continue
            try:
                one = Significance.load(file)
            except UserError as error:
                notes.append(f"{run.folder.name}, layer {layer}: {reason_of(error)}")
                continue
            said = one.matching.provenance
            table = run.folder / "pairs" / f"{pair_name((layer, layer), names)}.parquet"
            alpha = run.settings.get("evaluation.alpha")
            other = _Other(names[1], one, table, alpha if isinstance(alpha, float) else ALPHA)
            agreeing = [said.get(name, "") for name in ("source", "fold", "terms", "metric")]
            about = json.dumps([*agreeing, other.alpha])
            # Of two runs with the same other dictionary the first says it.
            found.setdefault((layer, names[0], about), {}).setdefault(said.get("target", names[1]), other)
    several = [(key, list(others.values())) for key, others in sorted(found.items()) if len(others) >= _FEWEST]
    layers = []
    for (layer, source, _), others in several:
        try:
            layers.append(_of(layer, source, others))
        except UserError as error:
            notes.append(f"layer {layer}, {source}: {reason_of(error)}")
    return layers, notes


@dataclass(frozen=True)
class _Other:
    """What a run says of a dictionary and another one: name, which pairs are matches, table of pairs, level."""

    name: str
    significance: Significance
    table: Path
    alpha: float


def _same_layers(run: Run) -> list[tuple[int, tuple[str, str]]]:
    """Layers that a run has matched with the same layer of another collection, and what the two are called."""
    there = {
        (row.source_layer, (row.source_collection, row.target_collection)): None
        for row in run.results
        # Names of a file of another run are parts of a path only where they are names.
        if row.source_layer == row.target_layer and is_name(row.source_collection) and is_name(row.target_collection)
    }
    return list(there)


def _of(layer: int, source: str, others: Sequence[_Other]) -> StableLayer:
    """Raises: UserError: If the matchings are of unlike numbers of features."""
    found = stability([other.significance for other in others], others[0].alpha)
    active, norm = torch.full((2, len(found.seeds)), math.nan, dtype=torch.float64)
    for other in others:
        # All have seen the same text, if their runs are compared: any of them knows.
        if (columns := _columns(other.table, len(active))) is not None:
            active, norm = columns
            if not norm.isnan().all():
                break
    return StableLayer(layer, source, tuple(other.name for other in others), found, active, norm, others[0].alpha)


def _columns(file: Path, features: int) -> tuple[Tensor, Tensor] | None:
    """Tokens on which each feature was active and its norm, from a run's table; none where that is none of a run's.

    Norms are nan where it has none.
    """
    try:
        schema = pq.read_schema(file)
        # An earlier version's table has no norms.
        wanted = [name for name in _KINDS if name != _NORM or name in schema.names]
        if not all(_KINDS[name](schema.field(name).type) for name in wanted):
            return None
        table = pq.read_table(file, columns=wanted)
    except (OSError, KeyError, pa.ArrowException):
        # A run without this arm has no table.
        return None
    if any(table[name].null_count for name in (_FEATURE, _ACTIVE)):
        return None
    feature = table[_FEATURE].to_numpy()
    if len(feature) and not 0 <= feature.min() <= feature.max() < features:
        return None
    active, norm = np.full((2, features), math.nan)
    active[feature] = 0
    if _NORM in wanted:
        norm[feature] = table[_NORM].to_numpy()
    np.add.at(active, feature.astype(np.int64), table[_ACTIVE].to_numpy())
    return torch.from_numpy(active), torch.from_numpy(norm)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
