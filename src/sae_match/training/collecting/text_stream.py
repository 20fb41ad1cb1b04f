"""Text as a stream of shuffled crops that is never in memory whole and can be taken up again anywhere."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.text.batches import TokenBatch, bos_id, pad
from sae_match.text.documents import Document, Part
from sae_match.text.drawing import in_seeded_order
from sae_match.text.settings import SourceSettings, TextSettings
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.seeds import seeded

#: Documents that are tokenised at one time: enough to keep the tokenizer's threads busy.
_TOGETHER = 64


def cut_evenly(ids: Int[Tensor, " tokens"], longest: int) -> list[Int[Tensor, " crop"]]:
    """Cut a document into as few crops as there must be, of nearly the same length, so that none is a scrap."""
    return list(ids.tensor_split(-(-len(ids) // longest))) if len(ids) else []


class _ShuffledCrops:
    """Crops of one dataset, each picked at random among those that were read and not yet given out."""

    def __init__(
        self,
        source: SourceSettings,
        tokenizer: PreTrainedTokenizerBase,
        part: Part,
        settings: SAETrainingSettings,
        generator: torch.Generator,
    ) -> None:
        # Whole works are cut here, by tokens. What is trained on is never what is measured on.
        self.source = replace(source, passage=0, whole=False)
        self.tokenizer, self.part, self.settings, self.generator = tokenizer, part, settings, generator
        self.documents = 0
        self.crops: list[Tensor] = []
        self.works = self._opened()

    def draw(self) -> Int[Tensor, " crop"] | None:
        """The next crop, or none where the text has ended."""
        while len(self.crops) < self.settings.shuffle and self._read():
            pass
        if not self.crops:
            return None
        picked = int(torch.randint(len(self.crops), (1,), generator=self.generator))
        self.crops[picked], self.crops[-1] = self.crops[-1], self.crops[picked]
        return self.crops.pop()

    def state_dict(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "generator": self.generator.get_state(),
            "crops": torch.cat(self.crops) if self.crops else torch.empty(0, dtype=torch.int32),
            "lengths": [len(crop) for crop in self.crops],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.documents = state["documents"]
        self.generator.set_state(state["generator"])
        self.crops = list(state["crops"].split(state["lengths"]))
        self.works = islice(self._opened(), self.documents, None)

    def _opened(self) -> Iterator[Document]:
        return in_seeded_order(self.source, self.part, self.settings.seed)

    def _read(self) -> bool:
        texts = [work.text for work in islice(self.works, _TOGETHER)]
        if not texts:
            return False
        self.documents += len(texts)
        # BOS is one of the positions.
        longest = self.settings.context - 1
        encoded = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        for ids in encoded["input_ids"]:
            self.crops += cut_evenly(torch.tensor(ids, dtype=torch.int32), longest)
        return True


class CropStream:
    """Batches of crops, each with BOS in front, with the same number from each dataset as long as all have text.

    It ends when the first dataset does. What is in memory is bounded: `shuffle` crops of each dataset,
    some documents, and what the source itself holds to shuffle its own.

    Args:
        text: Which datasets, and which token is BOS.
        tokenizer: The language model's.
        part: Part of the split that is read.
        settings: Length and number of crops, how well they are shuffled, and the seed.

    Raises:
        UserError: If there is no dataset, or the tokenizer has no BOS.
    """

    def __init__(
        self, text: TextSettings, tokenizer: PreTrainedTokenizerBase, part: Part, settings: SAETrainingSettings
    ) -> None:
        if not text.datasets:
            raise UserError("text.datasets is empty; name at least one dataset")
        self.tokenizer, self.part = tokenizer, part
        self.bos = torch.tensor([bos_id(tokenizer, text.bos)], dtype=torch.int32)
        self.share = max(1, settings.crops // len(text.datasets))
        self.ended: str | None = None
        self.datasets = {
            name: _ShuffledCrops(source, tokenizer, part, settings, seeded(settings.seed, name, part))
            for name, source in text.datasets.items()
        }

    def __iter__(self) -> Iterator[TokenBatch]:
        return self

    def __next__(self) -> TokenBatch:
        """The next batch; the last one may be smaller.

        Raises:
            StopIteration: If a dataset, named by `ended`, has no more text.
        """
        if self.ended is not None:
            raise StopIteration
        rows: list[list[int]] = []
        for name, crops in self.datasets.items():
            drawn = [crop for _ in range(self.share) if (crop := crops.draw()) is not None]
            rows += [torch.cat([self.bos, crop]).tolist() for crop in drawn]
            if len(drawn) < self.share:
                self.ended = name
        if not rows:
            raise StopIteration
        return pad("+".join(self.datasets), rows, self.tokenizer)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as tensors and plain values."""
        states = {name: crops.state_dict() for name, crops in self.datasets.items()}
        return {"ended": self.ended, "datasets": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another stream stood, one that was made of the same arguments."""
        self.ended = state["ended"]
        for name, crops in self.datasets.items():
            crops.load_state_dict(state["datasets"][name])
