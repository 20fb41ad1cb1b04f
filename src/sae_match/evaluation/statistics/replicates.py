"""Numbers of a run with all their replicates: what paired differences are made of, at once or in a later comparison."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.bootstrap import REPLICATES, ROWS
from sae_match.errors import UserError
from sae_match.evaluation.statistics.measures import numbers_of
from sae_match.evaluation.statistics.tally import Tally
from sae_match.matching.tensor_files import load_tensors, save_tensors
from sae_match.text.batches import TokenBatch

#: Name of the file in a run's folder.
FILE = "replicates.safetensors"

Rows = Float64[Tensor, " rows"]
_KIND = "replicates"


class Number(NamedTuple):
    """What a number is of."""

    source_layer: int
    target_layer: int
    arm: str
    dataset: str
    metric: str

    @property
    def pair(self) -> tuple[int, int]:
        """The pair of layers."""
        return self.source_layer, self.target_layer

    @property
    def span(self) -> int:
        """Their distance."""
        return self.target_layer - self.source_layer


@dataclass(frozen=True, eq=False)
class Replicates:
    """Every number of a run that rests on a sample of documents.

    Attributes:
        values: The number itself, then its replicates; of `bootstrap.ROWS` entries.
        documents: How many documents of each dataset there are.
        texts: Hash of the tokens of these documents, by dataset. Equal hashes, equal documents.
        seed: Of the draws: which documents a replicate counts follows from it, the dataset's name and the documents'
            numbers.
    """

    values: Mapping[Number, Rows]
    documents: Mapping[str, int]
    texts: Mapping[str, str]
    seed: int

    @classmethod
    def of(cls, tally: Tally, batches: Iterable[TokenBatch], seed: int) -> "Replicates":
        """What a validation has added up.

        Args:
            tally: Its sums.
            batches: All that was measured, by all processes.
            seed: Of the bootstrap.
        """
        values = {Number(*pair, arm, dataset, metric): rows for (pair, arm, dataset), metric, rows in numbers_of(tally)}
        documents = {dataset: tally.documents(dataset) for dataset in tally.layout.datasets}
        return cls(values, documents, hashes_of(batches), seed)

    def save(self, path: Path) -> None:
        """Write as safetensors with a checksum, whole or not at all.

        Of each replicate float32 keeps how far it is from the number: seven digits of that, and so of any difference of
        two runs that is not a ten-thousandth of their uncertainty. A number takes 4 kB.
        """
        values = torch.tensor([float(rows[0]) for rows in self.values.values()], dtype=torch.float64)
        apart = [(rows[1:] - rows[0]).float() for rows in self.values.values()]
        tensors = {"values": values, "deviations": torch.stack(apart) if apart else torch.zeros(0, REPLICATES)}
        told = {"numbers": [*self.values], "documents": self.documents, "texts": self.texts, "seed": self.seed}
        save_tensors(path, tensors, {"kind": _KIND, **{name: json.dumps(value) for name, value in told.items()}})

    @classmethod
    def load(cls, path: Path) -> "Replicates":
        """Read what `save` wrote.

        Raises:
            UserError: If the file is missing, damaged, or holds something else.
        """
        tensors, notes = load_tensors(path, ("values", "deviations"), sealed=True, kind=_KIND)
        try:
            if notes.get("kind") != _KIND:
                raise ValueError("another kind of file")
            numbers = [Number(*number) for number in json.loads(notes["numbers"])]
            documents = {str(name): int(count) for name, count in json.loads(notes["documents"]).items()}
            texts = {str(name): str(said) for name, said in json.loads(notes["texts"]).items()}
            values, deviations = tensors["values"].double(), tensors["deviations"].double()
            if values.shape != (len(numbers),) or deviations.shape != (len(numbers), ROWS - 1):
                raise ValueError(f"{list(deviations.shape)} replicates of {len(numbers)} numbers")
            rows = torch.cat([values[:, None], values[:, None] + deviations], 1)
            return cls(dict(zip(numbers, rows, strict=True)), documents, texts, int(notes["seed"]))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path} was not written by Replicates.save: {error!r} in its metadata") from error


def hashes_of(batches: Iterable[TokenBatch]) -> dict[str, str]:
    """SHA-256 of the tokens of each dataset's documents, in the order of their numbers, however they are batched."""
    found: dict[str, dict[int, bytes]] = {}
    for batch in batches:
        rows = zip(batch.documents, batch.input_ids, batch.attention_mask, batch.scored, strict=True)
        for number, ids, mask, scored in rows:
            length = int(mask.sum())
            digest = hashlib.sha256(f"{number} {length} ".encode())
            digest.update(ids[:length].cpu().long().numpy().tobytes())
            digest.update(scored[:length].cpu().numpy().tobytes())
            found.setdefault(batch.dataset, {})[number] = digest.digest()
    return {
        dataset: hashlib.sha256(b"".join(digest for _, digest in sorted(of.items()))).hexdigest()
        for dataset, of in found.items()
    }
