"""What relatives do on text, collected while a validation surveys it: no further pass, and no text is kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.evaluation.fitting import ActivityRecord
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.relations.activity import PairedActivity
from sae_match.evaluation.relations.overlap import Overlap, Summed, alone, overlap
from sae_match.evaluation.relations.stitching import Stitching, StitchingSums
from sae_match.evaluation.statistics.layout import Layout
from sae_match.evaluation.statistics.streaming import CPU
from sae_match.matching.relations.result import Relations
from sae_match.text.batches import TokenBatch


@dataclass(frozen=True)
class RelativesOnText:
    """What relatives do on each dataset.

    Attributes:
        overlaps: Containment and coverage, by pair of layers and dataset.
        stitched: What each target feature adds to the source's dictionary, of two dictionaries of one layer.
    """

    overlaps: Mapping[tuple[Pair, str], Overlap] = field(default_factory=dict)
    stitched: Mapping[tuple[Pair, str], Stitching] = field(default_factory=dict)


class RelativesCollector:
    """Records which features are active on each token, and sums of what target features add to the source's dictionary.

    Activity takes 4 bytes for each time that a feature of any end was active, and 8 a token; stitching 32 for each
    feature that a document wakes.

    Args:
        relations: Of each pair of layers that is looked at.
        layout: Of the validation.
        seed: Of the bootstrap and of random features.
    """

    def __init__(self, relations: Mapping[Pair, Relations], layout: Layout, seed: int) -> None:
        self.relations, self.layout, self.seed = relations, layout, seed
        self.ends = sorted({end for pair in relations for end in layout.ends(pair)})
        # Only two dictionaries of one layer of one model read the same: elsewhere nothing of one is added to the other.
        read_alike = layout.apart and not layout.two_models
        self.stitched = [pair for pair in relations if read_alike and pair[0] == pair[1]]
        self.start()

    def start(self) -> None:
        """Begin anew, with no token."""
        nothing = torch.zeros(0, dtype=torch.int64)
        self._document = {dataset: [nothing] for dataset in self.layout.datasets}
        self._active = {key: ActivityRecord(self.layout.features[key[0]]) for key in self._keys(self.ends)}
        self._added = {(pair, dataset): StitchingSums(size) for (pair, dataset), size in self._sizes()}

    def add_tokens(self, batch: TokenBatch) -> None:
        """Note of which documents the scored tokens of a batch are; once, before its ends."""
        row = batch.scored.nonzero()[:, 0].cpu()
        self._document[batch.dataset].append(torch.tensor(batch.documents, dtype=torch.int64)[row])

    def add_end(self, end: int, at: BatchMeasurement) -> None:
        """Look at the features of a layer, or end, on the batch."""
        if end in self.ends:
            found = at.features(end).active
            self._active[end, at.batch.dataset].add(
                replace(found, token=found.token.cpu(), feature=found.feature.cpu())
            )

    def add_pair(self, pair: Pair, at: BatchMeasurement) -> None:
        """Look at both dictionaries of a layer on the batch."""
        if pair in self.stitched:
            source, target = self.layout.ends(pair)
            narrow, wide, found = at.subject.open_sae(source), at.subject.open_sae(target), at.features(target)
            document = self._document[at.batch.dataset][-1].to(found.x.device)
            self._added[pair, at.batch.dataset].add(found.x, document, narrow, wide, found.f)

    def flat(self) -> Float64[Tensor, " entries"]:
        """All that was collected, in one vector on the CPU."""
        parts = []
        for dataset in self.layout.datasets:
            document = torch.cat(self._document[dataset]).double()
            parts += [torch.tensor([len(document)], dtype=torch.float64), document]
        parts += [one.flat() for one in self._active.values()] + [one.flat() for one in self._added.values()]
        return torch.cat(parts)

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Go on from what `flat` gave.

        Raises:
            ValueError: If it cannot have given that.
        """
        rest, document = flat, {}
        for dataset in self.layout.datasets:
            size = int(rest[0]) if len(rest) else -1
            if not 0 <= size < len(rest):
                raise ValueError("its documents are cut off")
            document[dataset], rest = [rest[1 : 1 + size].long()], rest[1 + size :]
        active, added = {}, {}
        for end, dataset in self._active:
            active[end, dataset], rest = ActivityRecord.filled(rest, self.layout.features[end], CPU)
        for key, size in self._sizes():
            added[key], rest = StitchingSums.filled(rest, size)
        if len(rest):
            raise ValueError(f"{len(rest)} of its sums are of nothing")
        if any(one.tokens != len(document[dataset][0]) for (_, dataset), one in active.items()):
            raise ValueError("its features are not active on the tokens of its documents")
        self._document, self._active, self._added = document, active, added

    def found(self, summed: Summed = alone, tell: Callable[[int, int], None] = lambda *_: None) -> RelativesOnText:
        """What came out; datasets of which nothing was read have no numbers. What was collected is dropped.

        Args:
            summed: Adds up over processes that share the text, in each at the same step.
            tell: Told how many pairs of layers are done, on how many datasets, and of how many.
        """
        overlaps, stitched = {}, {}
        read = [dataset for dataset in self.layout.datasets if int(summed(self._tokens(dataset)))]
        work = [(pair, dataset) for pair in self.relations for dataset in read]
        for number, (pair, dataset) in enumerate(work, 1):
            source, target = (self._active[end, dataset] for end in self.layout.ends(pair))
            activity = PairedActivity.of(source, target, torch.cat(self._document[dataset]))
            relations = self.relations[pair]
            overlaps[pair, dataset] = overlap(relations, activity, dataset=dataset, seed=self.seed, summed=summed)
            if pair in self.stitched:
                sums, kind = self._added[pair, dataset], relations.target_kind
                stitched[pair, dataset] = sums.found(dataset, kind=kind, seed=self.seed, summed=summed)
            tell(number, len(work))
        self.start()
        return RelativesOnText(overlaps, stitched)

    def _tokens(self, dataset: str) -> Int64[Tensor, ""]:
        return torch.tensor(sum(map(len, self._document[dataset])))

    def _keys(self, ends: Sequence[int]) -> list[tuple[int, str]]:
        return [(end, dataset) for end in ends for dataset in self.layout.datasets]

    def _sizes(self) -> Iterator[tuple[tuple[Pair, str], int]]:
        """Target features of each pair that is stitched, on each dataset."""
        for pair in self.stitched:
            for dataset in self.layout.datasets:
                yield (pair, dataset), self.layout.features[self.layout.ends(pair)[1]]
