"""What was added up while features were switched off: a row a feature and document, and what fell how far."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.evaluation.causal.sample import ARMS

#: What is kept of each arm in a document: the target feature's activation before and after, summed over tokens on which
#: both features are active, and how many these are; then, over tokens on which either is active, how many these are,
#: and sums, squares and products of the divergences that switching off the source and the target feature makes.
BEFORE, AFTER, BOTH, EITHER, OWN, THEIRS, OWN_SQUARED, THEIRS_SQUARED, PRODUCT = range(9)
SUMS = 9
#: What says of what a row is: number in the sample, number of the dataset, number of the document in it, and tokens on
#: which the source feature is active.
FEATURE, DATASET, DOCUMENT, TOKENS = range(4)
_NAMES = 4
_ROW = _NAMES + len(ARMS) * SUMS
# Falls are joined whenever so many are apart.
_APART = 64


@dataclass(frozen=True, eq=False)
class Rows:
    """A row for each feature and document.

    Attributes:
        names: See `FEATURE` and so on.
        sums: Of each arm; see `BEFORE` and so on.
    """

    names: Int64[Tensor, "rows four"]
    sums: Float64[Tensor, "rows arms nine"]

    def of(self, dataset: int) -> "Rows":
        """Those of a dataset."""
        where = self.names[:, DATASET] == dataset
        return Rows(self.names[where], self.sums[where])


@dataclass(frozen=True, eq=False)
class Falls:
    """How far target features fell, summed over the tokens on which a source feature is active; none that stayed.

    Attributes:
        keys: `(dataset * features of the sample + feature) * features of the target + target feature`, ascending.
        values: How far it fell; negative where it rose.
    """

    keys: Int64[Tensor, " entries"]
    values: Float64[Tensor, " entries"]

    @classmethod
    def joined(cls, parts: Sequence["Falls"]) -> "Falls":
        """Sums of several."""
        keys, place = torch.cat([part.keys for part in parts]).unique(return_inverse=True)
        values = torch.zeros(len(keys), dtype=torch.float64)
        return cls(keys, values.index_add_(0, place, torch.cat([part.values for part in parts])))


class Effects:
    """Adds up effects of a pair of layers, batch after batch.

    Args:
        features: In the sample.
        width: Features of the target.
    """

    def __init__(self, features: int, width: int) -> None:
        self.features, self.width = features, width
        nothing = Rows(torch.zeros(0, _NAMES, dtype=torch.int64), torch.zeros(0, len(ARMS), SUMS, dtype=torch.float64))
        self._rows = [nothing]
        self._falls = [Falls(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64))]

    def add(self, rows: Rows, falls: Float64[Tensor, "rows width"]) -> None:
        """Add a row for each feature and document, and how far all target features fell there."""
        self._rows.append(rows)
        row, target = falls.nonzero(as_tuple=True)
        named = rows.names[row.cpu()]
        keys = (named[:, DATASET] * self.features + named[:, FEATURE]) * self.width + target.cpu()
        self._falls.append(Falls.joined([Falls(keys, falls[row, target].cpu())]))
        if len(self._falls) > _APART:
            self._falls = [Falls.joined(self._falls)]

    @property
    def rows(self) -> Rows:
        """All rows, ordered by what they are of: in whatever order, and by however many processes, they were added."""
        names = torch.cat([rows.names for rows in self._rows])
        sums = torch.cat([rows.sums for rows in self._rows])
        order = torch.arange(len(names))
        for column in (DOCUMENT, DATASET, FEATURE):
            order = order[names[order, column].argsort(stable=True)]
        return Rows(names[order], sums[order])

    @property
    def falls(self) -> Falls:
        """How far target features fell."""
        return Falls.joined(self._falls)

    def flat(self) -> Float64[Tensor, " entries"]:
        """All of it in one vector."""
        rows, falls = self.rows, self.falls
        sizes = torch.tensor([len(rows.names), len(falls.keys)], dtype=torch.float64)
        table = torch.cat([rows.names.double(), rows.sums.flatten(1)], 1)
        return torch.cat([sizes, table.flatten(), falls.keys.double(), falls.values])

    def fill(self, flat: Float64[Tensor, " entries"]) -> Float64[Tensor, " rest"]:
        """Add what `flat` gave; returns what comes behind it in the vector.

        Raises:
            ValueError: If it cannot have given that.
        """
        rows, entries = (int(size) for size in flat[:2]) if len(flat) > 1 else (-1, -1)
        end = 2 + _ROW * rows + 2 * entries
        if rows < 0 or entries < 0 or len(flat) < end:
            raise ValueError("its effects are cut off")
        table = flat[2 : 2 + _ROW * rows].view(rows, _ROW)
        names, sums = table[:, :_NAMES].long(), table[:, _NAMES:].reshape(rows, len(ARMS), SUMS)
        keys, values = flat[2 + _ROW * rows : end].view(2, entries)
        self._rows.append(Rows(names, sums))
        self._falls.append(Falls(keys.long(), values))
        return flat[end:]
