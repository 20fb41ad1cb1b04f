"""What the stream before a layer, its attention and its MLP contribute to the pre-activations of its features.

A pre-activation is linear in the residual stream, and that is a sum: `z = (before + attention + mlp) · w + b`. So the
contributions and the bias add up to it, on every token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sae_match.evaluation.provenance.sources import SOURCES, Source
from sae_match.model.collecting import Added, added_by
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch

# Bytes of what layers add that are held at one time, about; and numbers of activations whose inputs are.
_HELD, _TOGETHER = 1 << 29, 1 << 14
# What is summed for each feature where it is active, besides what the sources contribute.
_ALSO = ("active", "pre_activation")


@dataclass(frozen=True, eq=False)
class Contributions:
    """Sums over the tokens on which each feature of a layer is active.

    Attributes:
        active: Number of these tokens.
        pre_activation: Of the feature, as its SAE computes it.
        of: What each source contributes to it.
        everywhere: Mean contribution of each source over all tokens.
        bias: Of each feature: what it has on every token.
        tokens: Tokens in all.
    """

    active: Float64[Tensor, " n"]
    pre_activation: Float64[Tensor, " n"]
    of: Mapping[Source, Float64[Tensor, " n"]]
    everywhere: Mapping[Source, Float64[Tensor, " n"]]
    bias: Float64[Tensor, " n"]
    tokens: int

    @property
    def known(self) -> Bool[Tensor, " n"]:
        """Features that were active at all."""
        return self.active > 0

    def share(self, source: Source) -> Float64[Tensor, " n"]:
        """Of the pre-activation, what a source contributes; with the bias's, the shares sum to one. nan where dead."""
        return self.of[source] / self.pre_activation

    @property
    def share_of_bias(self) -> Float64[Tensor, " n"]:
        """Of the pre-activation, what the bias is."""
        return self.active * self.bias / self.pre_activation

    def raised_by(self, source: Source) -> Float64[Tensor, " n"]:
        """Of the pre-activation's rise above its mean over all tokens, what a source contributes; these sum to one.

        The better number to read: a mean that every token has, and the bias that takes it away, are left out.
        """
        rises = {name: self.of[name] / self.active - self.everywhere[name] for name in SOURCES}
        return rises[source] / torch.stack(list(rises.values())).sum(0)

    @property
    def left(self) -> Float64[Tensor, " n"]:
        """Of the pre-activation, what contributions and bias do not sum to: rounding."""
        return 1 - self.share_of_bias - torch.stack([self.share(name) for name in SOURCES]).sum(0)


class ContributionSums:
    """Adds up contributions of every layer while a survey shows its features (`sae_match.evaluation.survey.Observer`).

    The model is run once more on each batch, with hooks on what its modules add.

    Args:
        stream: The language model.
        open_sae: Gives the SAE of a layer.
    """

    def __init__(self, stream: ResidualStream, open_sae: Callable[[int], SAE]) -> None:
        self._stream, self._open = stream, open_sae
        self._layers: list[int] = []
        self._sums: dict[tuple[int, str], dict[str, Tensor]] = {}
        self._seen: tuple[TokenBatch, dict[int, Added]] | None = None

    def start(self, features: Mapping[int, int], datasets: Sequence[str]) -> None:
        """Begin anew: with so many features in each layer, and these datasets."""
        self._layers, self._seen = sorted(features), None
        self._sums = {
            (layer, dataset): {
                **{name: torch.zeros(features[layer], dtype=torch.float64) for name in (*_ALSO, *SOURCES)},
                **{_everywhere(name): torch.zeros(self._stream.d_in, dtype=torch.float64) for name in SOURCES},
                "tokens": torch.zeros(1, dtype=torch.float64),
            }
            for layer in self._layers
            for dataset in datasets
        }

    def add(self, layer: int, batch: TokenBatch, f: Float[Tensor, "tokens d_sae"]) -> None:
        """Look at the features of a layer on the scored tokens of a batch."""
        sums, parts = self._sums[layer, batch.dataset], self._parts(layer, batch)
        W_enc = self._open(layer).W_enc.to(f.device)
        tokens, features = (f > 0).nonzero(as_tuple=True)
        sums["tokens"] += len(f)
        sums["active"] += torch.bincount(features, minlength=f.shape[1]).cpu()
        sums["pre_activation"].index_add_(0, features.cpu(), f[tokens, features].double().cpu())
        for name, part in parts.items():
            sums[_everywhere(name)] += part.sum(0, dtype=torch.float64).cpu()
        for these, those in zip(tokens.split(_TOGETHER), features.split(_TOGETHER), strict=True):
            weights = W_enc[:, those].T.double()
            for name, part in parts.items():
                given = (part[these].double() * weights).sum(1)
                sums[name].index_add_(0, those.cpu(), given.cpu())

    def flat(self) -> Float64[Tensor, " entries"]:
        """All sums in one vector."""
        return torch.cat([one for sums in self._sums.values() for one in sums.values()])

    def fill(self, flats: Sequence[Tensor]) -> None:
        """Replace the sums by those of all processes, each of which has other documents."""
        total = torch.stack([flat.double().cpu() for flat in flats]).sum(0)
        parts = iter(total.split([len(one) for sums in self._sums.values() for one in sums.values()]))
        self._sums = {key: {name: next(parts).clone() for name in sums} for key, sums in self._sums.items()}

    def found_of(self, layer: int, dataset: str) -> Contributions:
        """What was summed of a layer on a dataset."""
        sums, sae = self._sums[layer, dataset], self._open(layer)
        W_enc, tokens = sae.W_enc.double().cpu(), float(sums["tokens"])
        return Contributions(
            active=sums["active"],
            pre_activation=sums["pre_activation"],
            of={name: sums[name] for name in SOURCES},
            everywhere={name: sums[_everywhere(name)] @ W_enc / max(1.0, tokens) for name in SOURCES},
            bias=sae.b_enc.double().cpu(),
            tokens=int(tokens),
        )

    @property
    def datasets(self) -> list[str]:
        """Datasets that were seen."""
        return list(dict.fromkeys(dataset for _, dataset in self._sums))

    def _parts(self, layer: int, batch: TokenBatch) -> dict[Source, Float[Tensor, "tokens d"]]:
        """What makes up the residual stream after a layer, on the scored tokens of a batch."""
        if self._seen is None or self._seen[0] is not batch or layer not in self._seen[1]:
            self._seen = None
            each = 4 * batch.input_ids.numel() * self._stream.d_in * 4
            at = self._layers.index(layer)
            some = self._layers[at : at + max(1, _HELD // each)]
            self._seen = batch, added_by(self._stream, batch.input_ids, batch.attention_mask, some)
        one = self._seen[1][layer]
        found: dict[Source, Tensor] = {"residual": one.before, "mlp": one.mlp, "attention": one.attention}
        return {name: part[batch.scored].float() for name, part in found.items()}


def _everywhere(name: Source) -> str:
    return f"{name} everywhere"
