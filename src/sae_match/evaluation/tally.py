"""Everything that a validation adds up, and the results that follow from it."""

from collections.abc import Iterator
from typing import Any, TypeVar

from jaxtyping import Int64
from torch import Tensor

from sae_match.evaluation.arms import CLEAN, RECONSTRUCT_SOURCE, RECONSTRUCT_TARGET
from sae_match.evaluation.results import Result
from sae_match.evaluation.statistics import (
    Activity,
    LossSum,
    Moments,
    explained_variance,
    explained_variance_mse,
    matching_score,
)

Pair = tuple[int, int]
ArmKey = tuple[int, int, str, str]
LayerKey = tuple[int, str]


Key = TypeVar("Key")


def _add(sums: dict[Key, Any], key: Key, value: Any) -> None:
    sums[key] = sums[key] + value if key in sums else value


class Tally:
    """Sums over the batches of a validation.

    Keys of arms are `(source layer, target layer, arm, dataset)`, keys of layers `(layer, dataset)`.
    """

    def __init__(self) -> None:
        self.documents: dict[str, int] = {}
        self.clean_loss: dict[str, LossSum] = {}
        self.loss: dict[ArmKey, LossSum] = {}
        self.error: dict[ArmKey, Moments] = {}
        self.residual: dict[LayerKey, Moments] = {}
        self.activity: dict[LayerKey, Activity] = {}
        self.joint: dict[ArmKey, Int64[Tensor, " n_source"]] = {}

    def add_clean(self, dataset: str, documents: int, loss: LossSum) -> None:
        """Add a batch's documents and the loss of its clean pass."""
        _add(self.documents, dataset, documents)
        _add(self.clean_loss, dataset, loss)

    def add_layer(self, layer: int, dataset: str, residual: Moments, activity: Activity) -> None:
        """Add a batch's true residuals of a layer and the activity of its SAE on them."""
        _add(self.residual, (layer, dataset), residual)
        _add(self.activity, (layer, dataset), activity)

    def add_arm(self, key: ArmKey, loss: LossSum, error: Moments) -> None:
        """Add a batch's loss and reconstruction error under an arm."""
        _add(self.loss, key, loss)
        _add(self.error, key, error)

    def add_joint(self, key: ArmKey, joint: Int64[Tensor, " n_source"]) -> None:
        """Add the tokens of a batch on which both features of a pair were active."""
        _add(self.joint, key, joint)

    def results(self) -> Iterator[Result]:
        """Every metric of every pair, arm and dataset."""
        pairs = list(dict.fromkeys((source, target) for source, target, _, _ in self.loss))
        for source, target in pairs:
            for dataset in self.documents:
                yield from self._of_clean((source, target), dataset)
        for key in self.loss:
            yield from self._of_arm(key)

    def _of_clean(self, pair: Pair, dataset: str) -> Iterator[Result]:
        loss = self.clean_loss[dataset]
        yield self._result((*pair, CLEAN, dataset), "loss", loss.mean, loss.count)
        for arm, layer in ((RECONSTRUCT_SOURCE, pair[0]), (RECONSTRUCT_TARGET, pair[1])):
            activity = self.activity[layer, dataset]
            yield self._result((*pair, arm, dataset), "l0", activity.l0, activity.tokens)

    def _of_arm(self, key: ArmKey) -> Iterator[Result]:
        source, target, _, dataset = key
        residual, error, loss = self.residual[target, dataset], self.error[key], self.loss[key]
        yield self._result(key, "delta_loss", loss.mean - self.clean_loss[dataset].mean, loss.count)
        yield self._result(key, "explained_variance", explained_variance(residual, error), error.count)
        yield self._result(key, "explained_variance_mse", explained_variance_mse(residual, error), error.count)
        if key in self.joint:
            activity = self.activity[source, dataset]
            yield self._result(key, "matching_score", matching_score(self.joint[key], activity.active), activity.tokens)

    def _result(self, key: ArmKey, metric: str, value: float, tokens: int) -> Result:
        source, target, arm, dataset = key
        return Result(source, target, arm, dataset, metric, value, None, None, tokens, self.documents[dataset])
