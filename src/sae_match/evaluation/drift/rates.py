"""How often features fire before and after, by document, with intervals; and which text they prefer."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.drift.activity import DocumentActivity

#: Tokens on which a feature or its partner must be active before a rate is said to have drifted.
FEWEST = 10
# Added to every count, so that a feature that never fires has a ratio.
_HALF = 0.5
_ENDS = (0.025, 0.975)
# Features whose replicates exist at one time.
_BLOCK = 2048


@dataclass(frozen=True)
class Rates:
    """Of each pair of features on a dataset.

    Attributes:
        source: Share of tokens on which the source feature is active, in the model that it reads.
        target: The same of its partner.
        ratio: Logarithm of how many times as often the partner fires, half a token added to both.
        low: Lower end of its 95 % interval over documents.
        high: Upper end.
        enough: Whether either is active on enough tokens.
    """

    source: Float64[Tensor, " pairs"]
    target: Float64[Tensor, " pairs"]
    ratio: Float64[Tensor, " pairs"]
    low: Float64[Tensor, " pairs"]
    high: Float64[Tensor, " pairs"]
    enough: Bool[Tensor, " pairs"]

    @classmethod
    def of(
        cls,
        activity: DocumentActivity,
        dataset: str,
        ends: tuple[int, int],
        pairs: tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]],
        seed: int,
    ) -> "Rates":
        """Rates of pairs of features; replicates draw the documents that all other numbers of the dataset draw.

        Args:
            activity: Counts.
            dataset: Of which text.
            ends: The source's and the target's.
            pairs: Source features, and their partners.
            seed: Of the bootstrap.
        """
        before, after = (activity.counts(end, dataset)[:, of] for end, of in zip(ends, pairs, strict=True))
        tokens = float(activity.tokens(dataset).sum())
        weights = bootstrap_weights(dataset, activity.documents[dataset], seed)
        lows, highs = [], []
        for some, partners in zip(before.split(_BLOCK, 1), after.split(_BLOCK, 1), strict=True):
            replicates = log_ratio(weights[1:] @ partners, weights[1:] @ some)
            low, high = replicates.quantile(torch.tensor(_ENDS, dtype=torch.float64), dim=0)
            lows.append(low)
            highs.append(high)
        first, second = before.sum(0), after.sum(0)
        return cls(
            first / tokens,
            second / tokens,
            log_ratio(second, first),
            torch.cat(lows),
            torch.cat(highs),
            torch.maximum(first, second) >= FEWEST,
        )

    @property
    def drifted(self) -> Bool[Tensor, " pairs"]:
        """Whether the interval of the ratio excludes one."""
        return self.enough & ((self.low > 0) | (self.high < 0))


def log_ratio(over: Tensor, under: Tensor) -> Tensor:
    """Logarithm of the ratio of two counts on the same tokens."""
    return ((over + _HALF) / (under + _HALF)).log()


def preference(
    counts: tuple[Float64[Tensor, " pairs"], Float64[Tensor, " pairs"]], tokens: tuple[float, float]
) -> Float64[Tensor, " pairs"]:
    """Logarithm of how many times as often features fire on one text as on another.

    Args:
        counts: Active tokens on the one and on the other.
        tokens: Tokens of both.
    """
    return log_ratio(*counts) - float(torch.tensor(tokens[0] / tokens[1]).log())
