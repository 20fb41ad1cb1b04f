"""The entries of highest key of each feature, kept while entries stream by, in memory that does not grow."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_NOTHING = float("-inf")


@dataclass(frozen=True)
class Entries:
    """Where features were active.

    Attributes:
        feature: Which feature.
        key: What entries of a feature are chosen by.
        value: The feature's value.
        place: Where in the text; a number below 2^52.
    """

    feature: Int64[Tensor, " entries"]
    key: Float[Tensor, " entries"]
    value: Float[Tensor, " entries"]
    place: Int64[Tensor, " entries"]

    def first_of(self, group: Int64[Tensor, " entries"]) -> "Entries":
        """The same, of each group all but the entry of highest key with a key below all others.

        They are not dropped: how many are left would have to be waited for.
        """
        order = self.key.argsort(descending=True, stable=True)
        order = order[group[order].argsort(stable=True)]
        ordered, entries = group[order], self._at(order)
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = ordered[1:] != ordered[:-1]
        return replace(entries, key=torch.where(first, entries.key, _NOTHING))

    def ranked(self) -> tuple["Entries", Int64[Tensor, " entries"]]:
        """Entries by feature, highest key first, and the rank of each within its feature."""
        order = self.key.argsort(descending=True, stable=True)
        ordered = self._at(order[self.feature[order].argsort(stable=True)])
        position = torch.arange(len(ordered.feature), device=ordered.feature.device)
        return ordered, position - torch.searchsorted(ordered.feature, ordered.feature)

    def _at(self, where: Int64[Tensor, " some"]) -> "Entries":
        return Entries(self.feature[where], self.key[where], self.value[where], self.place[where])


class Strongest:
    """The entries of highest key of each feature.

    Args:
        features: Number of features.
        most: Entries kept of each.

    Attributes:
        kept: Key, value and place of each kept entry, highest key first; a key of minus infinity where
            there are fewer. Where the entries were that were added last.
    """

    def __init__(self, features: int, most: int) -> None:
        self.kept = torch.zeros(features, most, 3, dtype=torch.float64)
        self.kept[..., 0] = _NOTHING

    def add(self, entries: Entries) -> None:
        """Look at further entries, on their device; a key of minus infinity is none."""
        self.kept = self.kept.to(entries.key.device)
        features, most = self.kept.shape[:2]
        ordered, rank = entries.ranked()
        # What is not kept goes into a column more: nobody waits for how many there are.
        column = torch.where(ordered.key > _NOTHING, rank.clamp_max(most), most)
        new = self.kept.new_zeros(features, most + 1, 3)
        new[..., 0] = _NOTHING
        columns = (ordered.key, ordered.value, ordered.place)
        new[ordered.feature, column] = torch.stack([one.double() for one in columns], 1)
        self.join(new[:, :most])

    def join(self, other: Float[Tensor, "features most three"]) -> None:
        """Look at what was kept elsewhere."""
        both = torch.cat([self.kept, other], 1)
        # Of equal keys the earlier place, whichever process has seen it.
        order = both[..., 2].argsort(dim=1, stable=True)
        order = order.gather(1, both[..., 0].gather(1, order).argsort(dim=1, descending=True, stable=True))
        self.kept = both.gather(1, order[:, : self.kept.shape[1], None].expand(-1, -1, 3))

    def of(self, feature: int) -> Float[Tensor, "entries two"]:
        """Value and place of each kept entry of a feature, highest key first."""
        # Features are read one by one: from the first on all of them are on the CPU.
        self.kept = self.kept.cpu()
        entries = self.kept[feature]
        found: Float[Tensor, "entries two"] = entries[entries[:, 0] > _NOTHING][:, 1:]
        return found
