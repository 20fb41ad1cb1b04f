"""Where the features of two dictionaries are active on the same tokens: lists, which grow with the activity only."""

import numpy as np
import torch
from jaxtyping import Int64
from scipy.sparse import csr_array
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.fitting import ActivityRecord
from sae_match.evaluation.statistics.streaming import Active


class PairedActivity:
    """Activity of source and target features on a dataset's tokens: 4 bytes for each time that one was active.

    Args:
        n_source: Source features.
        n_target: Target features.
    """

    def __init__(self, n_source: int, n_target: int) -> None:
        self.source, self.target = ActivityRecord(n_source), ActivityRecord(n_target)
        self._documents: list[Int64[Tensor, " tokens"]] = []

    @classmethod
    def of(cls, source: ActivityRecord, target: ActivityRecord, document: Int64[Tensor, " tokens"]) -> "PairedActivity":
        """Activity that was recorded side by side, on the same tokens.

        Args:
            source: Of source features.
            target: Of target features.
            document: Number of each token's document in the dataset.

        Raises:
            UserError: If these are not as many tokens.
        """
        _refuse_unlike(source.tokens, target.tokens, len(document))
        found = cls(source.n_features, target.n_features)
        found.source, found.target, found._documents = source, target, [document.cpu()]
        return found

    def add(self, source: Active, target: Active, document: Int64[Tensor, " tokens"]) -> None:
        """Add the tokens of a batch.

        Args:
            source: Active source features.
            target: Active target features, on the same tokens.
            document: Number of each token's document in the dataset.

        Raises:
            UserError: If these are not as many tokens, or not as many features as there are.
        """
        _refuse_unlike(source.tokens, target.tokens, len(document))
        for side, record, active in (("source", self.source, source), ("target", self.target, target)):
            if active.features != record.n_features:
                raise UserError(f"the {side} has {record.n_features} features, the activity is of {active.features}")
        self.source.add(source)
        self.target.add(target)
        self._documents.append(document.cpu())

    @property
    def tokens(self) -> int:
        """Tokens that there are."""
        return sum(map(len, self._documents))

    @property
    def documents(self) -> list[int]:
        """Numbers of the documents, in order."""
        return torch.cat(self._documents).unique().tolist() if self._documents else []

    def matrices(self) -> tuple[csr_array, csr_array]:
        """`[tokens, n_source]` and `[tokens, n_target]`, one where a feature was active."""
        return self.source.matrix(), self.target.matrix()

    def by_document(self) -> csr_array:
        """`[documents, tokens]`, one where a token is of a document, in the order of `documents`."""
        nothing = torch.zeros(0, dtype=torch.int64)
        documents, place = torch.cat([nothing, *self._documents]).unique(return_inverse=True)
        ones = np.ones(len(place), dtype=np.int32)
        return csr_array((ones, (place.numpy(), np.arange(len(place)))), shape=(len(documents), len(place)))


def _refuse_unlike(source: int, target: int, documents: int) -> None:
    if not source == target == documents:
        raise UserError(f"activity on {source} and on {target} tokens and documents of {documents} cannot be joined")
