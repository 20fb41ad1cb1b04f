"""What a validation will take, counted before it starts: layer-forwards, heads, SAE products, memory."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import BETWEEN_LAYERS, COMPOSED, MATCHED, MATCHED_UNFOLDED, OF_TARGET_ALONE
from sae_match.evaluation.settings import EvaluationSettings, measurable_arms, refuse_impossible_spans
from sae_match.evaluation.two_models.arms import arms_between
from sae_match.model.sizes import ModelSizes
from sae_match.saes.collection import SAECollection
from sae_match.saes.two import Collections, TwoCollections

log = logging.getLogger(__name__)

Pair = tuple[int, int]

# Of a matrix product whose speed is measured: large enough to be fast (of 512 rows, waiting for threads shows), small
# enough to be no wait; a smaller one does if it takes so many seconds.
_SMALLEST, _LARGEST, _LARGEST_ON_CPU = 256, 4096, 1024
_TIMED, _RUNS = 0.02, 4
# Clean passes of the survey.
_SURVEY = 1


def pairs_at(collection: SAECollection, spans: Sequence[int]) -> list[Pair]:
    """Pairs `(s, s + span)` of layers that both have an SAE, in ascending order.

    Raises:
        UserError: If a span is below one, or there is no pair.
    """
    refuse_impossible_spans(spans)
    layers = sorted(collection.layers)
    pairs = [(layer, layer + span) for layer in layers for span in sorted(set(spans)) if layer + span in layers]
    if not pairs:
        what = "adjacent layers" if set(spans) == {1} else f"layers at a distance of {', '.join(map(str, spans))}"
        raise UserError(f"no two {what} with an SAE in {collection.source}; nothing to match")
    return pairs


def chosen_pairs(collection: Collections, settings: EvaluationSettings) -> list[Pair]:
    """The pairs of layers that settings ask for, in ascending order: those that are named, or else the usual ones.

    In one collection these are layers at the chosen distances; of two, the layers that both have an SAE of.

    Raises:
        UserError: If there is none, one has no SAE, or a source layer comes after its target.
    """
    if isinstance(collection, TwoCollections):
        if list(settings.spans) != [1]:
            raise UserError(
                "evaluation.spans are distances in one collection: layers of two are paired by number, or as in "
                "pairs=[[3,3],[3,4]]"
            )
        pairs = collection.chosen(settings.pairs)
    elif settings.pairs is None:
        return pairs_at(collection, settings.spans)
    else:
        pairs = [(source, target) for source, target in settings.pairs]
        for layer in (layer for pair in pairs for layer in pair):
            collection.refuse_unknown(layer)
    _refuse_backward(pairs, collection.apart)
    return sorted(set(pairs))


def wanted_ends(saes: Collections, settings: EvaluationSettings) -> list[int]:
    """The SAEs that are looked at: all of one collection, those that are in a pair of two."""
    if saes.apart:
        # What is wrong with the pairs is said with the pairs.
        with suppress(UserError):
            return sorted({end for pair in chosen_pairs(saes, settings) for end in saes.ends(pair)})
    return saes.all_ends


def _refuse_backward(pairs: Sequence[Pair], apart: bool) -> None:
    """Check that no later layer is to stand in for an earlier one, nor a layer of one collection for itself."""
    if not pairs:
        raise UserError("pairs=[] chooses no pair of layers: name some as pairs=[[3,4],[4,5]]")
    for source, target in pairs:
        if source > target or (source == target and not apart):
            later = "the same layer or a later one" if apart else "a later one"
            raise UserError(f"a pair goes from a layer to {later}, got [{source},{target}] in pairs")


def arms_of(pair: Pair, arms: Sequence[str], two_models: bool = False) -> list[str]:
    """Arms of a pair: between neighbours there is nothing to compose, of one layer nothing to leave out or to map.

    Args:
        pair: Of layers.
        arms: Those that are asked for.
        two_models: Whether the layers are of two language models, whose residuals differ in one layer too.
    """
    is_one = pair[0] == pair[1] and not two_models
    without = (*(() if pair[1] - pair[0] > 1 else (COMPOSED,)), *(BETWEEN_LAYERS if is_one else ()))
    return [arm for arm in arms if arm not in without]


def measured_arms(
    settings: EvaluationSettings, pairs: Sequence[Pair], apart: bool, widths: tuple[int, int] | None = None
) -> list[str]:
    """The asked-for arms in table order that any pair has; the others are said to be left out.

    Args:
        settings: What is asked for.
        pairs: Of layers.
        apart: Whether sources and targets are of two collections, between which no neighbours lead.
        widths: Of the place that the SAEs read, in the source's language model and in the target's; none of one model.

    Raises:
        UserError: If none is left, or features are to be compared that have nothing in common.
    """
    asked = arms_between(measurable_arms(settings), widths)
    if not apart or not pairs:
        return asked
    there = {arm for pair in pairs for arm in arms_of(pair, asked, widths is not None) if arm != COMPOSED}
    if not there:
        raise UserError(f"arms {', '.join(asked)} say nothing of two collections on the same layer; take matched")
    if without := [arm for arm in asked if arm not in there]:
        why = "two collections of the same layers: %s left out, as no layer lies in between"
        log.info(why if widths is None else "two models: %s left out, as no layer lies in between", ", ".join(without))
    return [arm for arm in asked if arm in there]


def twins_among(arms: Sequence[str], fold: str, carry: str | None = None) -> dict[str, str]:
    """Arms that stand in by the same vectors as another one, with that one: they are measured once.

    A matcher that does not fold matches and carries under `matched` as it does under `matched_unfolded`, unless values
    are to be carried otherwise.
    """
    alike = fold == "none" and carry in (None, "none") and {MATCHED, MATCHED_UNFOLDED} <= set(arms)
    return {MATCHED_UNFOLDED: MATCHED} if alike else {}


def refuse_broken_chains(collection: SAECollection, pairs: Sequence[Pair], arms: Sequence[str]) -> None:
    """Check that every pair has an arm, and that what is to be composed is there.

    Raises:
        UserError: If not.
    """
    if not any(arms_of(pair, arms) for pair in pairs):
        raise UserError(f"arm {COMPOSED} is for layers further apart than neighbours; set evaluation.spans beyond 1")
    for source, target in pairs:
        gap = [layer for layer in range(source + 1, target) if layer not in collection.layers]
        if COMPOSED in arms and gap:
            raise UserError(
                f"arm {COMPOSED} goes from layer {source} to {target} by all layers in between, and layer {gap[0]} has "
                f"no SAE in {collection.source}; leave the arm out of evaluation.arms"
            )


@dataclass(frozen=True)
class PassPlan:
    """The passes of a validation, for each token.

    One clean pass surveys the text, as far as the last target layer: it finds the means that all sums are taken
    about. A second runs every decoder layer and the head once. Each arm of a pair resumes behind its
    target layer and runs the head again; what does not depend on the source layer runs once a target.

    Attributes:
        n_layers: Decoder layers of the model.
        pairs: Source and target layers, in the order in which they are measured.
        arms: Arms that stand in for a residual.
        reruns_target: Whether the target layer itself runs again: it does where SAEs read a place
            inside it.
        clean_passes: Clean passes after the survey's: more than one where not all residuals fit
            in memory at one time.
        two_models: Whether sources are layers of another language model, which runs as far as the last of them.
    """

    n_layers: int
    pairs: Sequence[Pair]
    arms: Sequence[str]
    reruns_target: bool = False
    clean_passes: int = 1
    two_models: bool = False

    def runs(self) -> list[tuple[Pair, str]]:
        """Pairs and arms that the model is resumed for."""
        reached: set[int] = set()
        runs = []
        for pair in self.pairs:
            skipped = OF_TARGET_ALONE if pair[1] in reached else ()
            runs += [(pair, arm) for arm in arms_of(pair, self.arms, self.two_models) if arm not in skipped]
            reached.add(pair[1])
        return runs

    @property
    def layer_forwards(self) -> int:
        """Runs of a decoder layer."""
        again = sum(self.n_layers - 1 - target + self.reruns_target for (_, target), _ in self.runs())
        surveyed = 1 + max((target for _, target in self.pairs), default=-1)
        read = 1 + max((source for source, _ in self.pairs), default=-1) if self.two_models else 0
        return _SURVEY * surveyed + self.clean_passes * self.n_layers + again + (_SURVEY + self.clean_passes) * read

    @property
    def heads(self) -> int:
        """Runs of the head."""
        return 1 + len(self.runs())

    def floating_point_operations(self, model: ModelSizes, features: Mapping[int, int], tokens: int) -> float:
        """Multiplications and additions of the matrix products for so many tokens.

        Args:
            model: The model.
            features: Width of each SAE, by its end.
            tokens: Tokens, padding left out.
        """
        layers = self.layer_forwards * model.parameters_per_layer
        heads = self.heads * model.d_in * model.vocabulary
        # Each SAE encodes once in both passes. Decoding adds up rows of the few features that are active.
        encoders = (_SURVEY + 1) * sum(features.values()) * model.d_in
        return 2.0 * tokens * (layers + heads + encoders)


def in_memory(
    pairs: Sequence[Pair], most_layers: int, held_of: Callable[[Pair], tuple[int, int]] = lambda pair: pair
) -> list[list[Pair]]:
    """Pairs in groups whose layers' residuals are held at one time; each group takes a clean pass.

    Args:
        pairs: In ascending order.
        most_layers: Residuals that fit; two are held in any case.
        held_of: Whose residuals a pair takes.
    """
    groups: list[list[Pair]] = []
    held: set[int] = set()
    for pair in pairs:
        if not groups or len(held | set(held_of(pair))) > max(2, most_layers):
            groups.append([])
            held = set()
        groups[-1].append(pair)
        held |= set(held_of(pair))
    return groups


def grouped(
    pairs: Sequence[Pair], residual: int, budget: float, held_of: Callable[[Pair], tuple[int, int]]
) -> list[list[Pair]]:
    """Pairs whose residuals are held at one time.

    Args:
        pairs: In ascending order.
        residual: Bytes of one layer's residual of the largest batch.
        budget: Bytes that residuals may take.
        held_of: Whose residuals a pair takes.
    """
    groups = in_memory(pairs, int(budget / residual), held_of)
    if len(groups) > 1:
        log.info("the residuals of all layers do not fit at one time: %d clean passes", len(groups))
    return groups


@cache
def speed_of(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a matrix product, measured once a process.

    Products grow until one takes long enough to be timed: a processor that has no instructions for a type is a hundred
    times slower at it.
    """
    speed, size = 0.0, _SMALLEST
    while size <= (_LARGEST_ON_CPU if device.type == "cpu" else _LARGEST):
        took = min(_seconds(device, dtype, size) for _ in range(_RUNS))
        speed = 2.0 * size**3 / took
        if took > _TIMED:
            break
        size *= 2
    return speed


def _seconds(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """What a product of two square matrices takes."""
    left = torch.ones(size, size, dtype=dtype, device=device)
    start = time.perf_counter()
    left @ left
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
