"""The memory that a validation takes, counted beforehand, and the sizes of blocks that follow from what is free.

Everything that grows with the model, the text or the number of arms is counted, tensor by tensor as the code makes
them; `benchmark memory` compares the sum with what is measured.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch

from sae_match.bootstrap import ROWS
from sae_match.evaluation.arm_names import LINEAR_MAP, LINEAR_MAP_SAE, MATCHING_ARMS, OF_TWO_MODELS
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.passes.load import Load
from sae_match.evaluation.statistics.forms import is_by_dimension
from sae_match.evaluation.statistics.layout import Layout
from sae_match.evaluation.statistics.norms import SKETCH_BINS
from sae_match.evaluation.statistics.tally import Tally
from sae_match.matching.solver.planning import GIGABYTE
from sae_match.model.sizes import queries_held

log = logging.getLogger(__name__)

#: Shares of the free memory: SAEs that stay open, and residuals of a batch.
SHARE_OF_SAES, SHARE_OF_RESIDUALS = 0.5, 0.2

# What libraries keep for products, and Python for all that is no tensor, as soon as there is a model to measure: 7 to
# 26 MB were seen with four models of 0.1 to 0.8 GB.
_BESIDE = 16 * 2**20
# A device without memory.
_NOWHERE = torch.device("meta")
_MAPPED = {LINEAR_MAP, LINEAR_MAP_SAE, *OF_TWO_MODELS}
_SINGLE, _DOUBLE = 4, 8
# Bytes for each token and feature. While an SAE encodes: products, what is above zero, which are above the threshold,
# these as numbers (on a CPU, where two dtypes are made one before they are multiplied), what is left. What a matching
# carries is a list of the few values that are not zero.
_ENCODING = 4 * _SINGLE + 1
# Vectors in float64, of each token, while sums by document are made: as they are, apart from their mean, squared.
_SUMMING = 3 * _DOUBLE


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a validation takes at most, by what they are for.

    Attributes:
        model: The language model.
        saes: SAEs that stay open.
        matchings: Matchings, and affine maps.
        sums: What is added up.
        fitting: Sums of least squares, while arms are fitted.
        clean: What a clean pass leaves.
        features: Residuals and features of a batch, of the layers of a pair.
        making: Stand-ins while they are made of these, and sums over them.
        arms: Stand-ins that run through the model side by side.
        logits: A block of logits.
        blocks: How much is computed at one time.
    """

    model: int
    saes: int
    matchings: int
    sums: int
    fitting: int
    clean: int
    features: int
    making: int
    arms: int
    logits: int
    blocks: Blocks

    @classmethod
    def of(cls, load: Load, blocks: Blocks, budget: float, device: torch.device) -> "MemoryPlan":
        """What a validation takes.

        Args:
            load: What it follows from.
            blocks: How much is computed at one time.
            budget: Bytes that SAEs and residuals may take.
            device: Where it is run.
        """
        most, every = _most_arms(load), load.each_shape
        at_once = [min(blocks.arms_of(one.tokens), most) for one in every]
        return cls(
            model=load.model.parameters * load.itemsize + load.beside,
            saes=_open_saes(load.sae_bytes(), SHARE_OF_SAES * budget),
            matchings=_matchings(load),
            sums=_sums(load),
            fitting=2 * _DOUBLE * _squares(load) * load.fits if _MAPPED & set(load.arms) else 0,
            clean=max(map(_clean, every)),
            features=load.scored * (load.widest + 2 * load.longest) * _SINGLE * _layers_held(load),
            making=_making(load) + at_once[0] * load.residual_bytes(),
            arms=max(times * one.arm_bytes(device) for times, one in zip(at_once, every, strict=True)),
            logits=max(_logits(one, times, blocks) for times, one in zip(at_once, every, strict=True)),
            blocks=blocks,
        )

    @property
    def batch(self) -> int:
        """What a batch takes at most at one time: arms are made, run through the model, then give logits."""
        return self.clean + max(self.fitting, self.features + max(self.making, self.arms, self.logits))

    @property
    def total(self) -> int:
        """All that is held at one time at most."""
        return self.model + self.saes + self.matchings + self.sums + self.batch + _BESIDE

    def said(self) -> str:
        """All of it, for people."""
        return (
            f"{size_of(self.total)}: model {size_of(self.model)}, SAEs {size_of(self.saes)}, matchings and sums "
            f"{size_of(self.matchings + self.sums)}, a batch {size_of(self.batch)}"
        )

    def say_what_does_not_fit(self, budget: float, free: float, load: Load) -> None:
        """Say how many SAEs stay open, and whether all of it is more than there is.

        Args:
            budget: Bytes that SAEs and residuals may take.
            free: Bytes that are free, the model being there.
            load: What is held.
        """
        sizes = list(load.sae_bytes().values())
        if (stay := _staying(sizes, SHARE_OF_SAES * budget)) < len(sizes):
            log.warning(
                "of %d SAEs of %s %s open in %s, half of evaluation.memory or of what is free; the others are read "
                "again for every pair and batch",
                len(sizes),
                size_of(max(sizes)),
                f"{stay} stay" if stay else "none stays",
                size_of(SHARE_OF_SAES * budget),
            )
        if (needed := self.total - self.model) > free:
            log.warning(
                "a validation of this text takes about %s beside the model, and %s are free: take a smaller text.batch "
                "or text.max_tokens",
                size_of(needed),
                size_of(free),
            )


def _squares(load: Load) -> int:
    """Entries of what an affine map between two residuals is found from; of two models there is a rotation besides."""
    layout = load.layout
    return layout.d_in**2 if layout.d_source is None else layout.d_source * (layout.d_source + layout.d_in)


def _most_arms(load: Load) -> int:
    """Arms of a pair, at most."""
    return max((len(_arms(load, pair)) for pair in load.layout.pairs), default=1)


def _arms(load: Load, pair: tuple[int, int]) -> list[str]:
    """Arms of a pair that are measured."""
    return [arm for arm in load.layout.arms_of(pair) if arm in load.arms]


def _open_saes(sizes: Mapping[int, int], budget: float) -> int:
    """Those that stay open, the first that fit; and two at a time of the others."""
    each = list(sizes.values())
    stay = _staying(each, budget)
    return sum(each[:stay]) + sum(sorted(each[stay:])[-2:])


def _staying(sizes: Sequence[int], budget: float) -> int:
    """How many SAEs of some sizes stay open: the first that fit together."""
    held = list(accumulate(sizes))
    return sum(size <= budget for size in held)


def _matchings(load: Load) -> int:
    """Permutation, cost and factor of each matching arm; two cosines; and which pairs are cheap, of each pair."""
    total = 0
    for pair in load.layout.pairs:
        features, arms = load.layout.features[load.layout.ends(pair)[0]], _arms(load, pair)
        matched = sum(arm in MATCHING_ARMS for arm in arms)
        total += features * (matched * (2 * _DOUBLE + _SINGLE) + 2 * _SINGLE)
        if _MAPPED & set(arms):
            total += _SINGLE * _squares(load)
    return total


def _sums(load: Load) -> int:
    """Sums of survey and measurement, with the means that these are about."""
    layout = load.layout
    means = 2 * _DOUBLE * layout.d_in * (len(layout.layers()) + len(layout.runs()))
    return Tally(layout, device=_NOWHERE).nbytes + survey_bytes(layout) + means


def survey_bytes(layout: Layout) -> int:
    """What a `Survey` takes, which is not imported for this: it brings in the language model."""
    d_in, reads = layout.d_in, not all(map(is_by_dimension, layout.forms))
    vectors, sketched = (2 if reads else 1) + bool(layout.forms), SKETCH_BINS if layout.forms else 0
    layers = sum(vectors * layout.width(layer) + sketched + layout.features[layer] for layer, _ in layout.layers())
    bent = sum(arm == LINEAR_MAP_SAE for _, arm, _ in layout.runs())
    read = sum(arm not in layout.twins for _, arm, _ in layout.runs()) if reads else 0
    return _DOUBLE * (layers + (bent + read) * d_in + len(layout.datasets) * (2 if reads else 1))


def _clean(load: Load) -> int:
    """Residuals of the layers of a group, the first and the last; masks; weights of the bootstrap."""
    ends = load.layout.ends if load.layout.two_models else tuple
    layers = max((len({end for pair in pairs for end in ends(pair)}) for pairs in load.groups), default=0)
    # Kept for `eager` and `capped` alike.
    has_masks = queries_held(load.attention, load.seq, "cpu") > 0
    masks = 2 * load.tokens * load.seq * load.itemsize if has_masks else 0
    return (layers + 2) * load.residual_bytes() + masks + ROWS * load.rows * _DOUBLE


def _making(load: Load) -> int:
    """Beside the features of the layers that are held, while arms are made of them or their errors are added up."""
    n = load.scored
    # The features of the last layer that is held are made while they are not yet held.
    beside = _ENCODING if LINEAR_MAP_SAE in load.arms else _ENCODING - _SINGLE
    return n * max(load.widest * beside, load.layout.d_in * _SUMMING) + 2 * n * load.layout.d_in * _SINGLE


def _logits(load: Load, arms: int, blocks: Blocks) -> int:
    """A block of logits, and the last residuals of as many arms as run side by side."""
    states = arms * (load.tokens + load.scored) * load.model.d_in * load.itemsize
    return states + min(blocks.logits, arms * load.scored) * load.logit_bytes()


def _layers_held(load: Load) -> int:
    """Layers whose features are held at one time, at most: those of a pair, and those that a later pair has again."""
    most, layout = 0, load.layout
    for pairs in load.groups:
        seen: set[int] = set()
        for position, pair in enumerate(pairs):
            seen |= set(layout.ends(pair))
            most = max(most, len(seen))
            seen &= set(chain.from_iterable(map(layout.ends, pairs[position + 1 :])))
    return most


def size_of(size: int | float) -> str:
    """Bytes, for people."""
    return f"{size / GIGABYTE:.3g} GB" if size >= 0.1 * GIGABYTE else f"{size / 2**20:.3g} MB"
