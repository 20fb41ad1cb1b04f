"""What does a wider dictionary add? Each of its features, alone, added to the narrower one (arXiv 2502.04878).

Where the narrower SAE leaves the error `e`, adding feature `j` with value `f_j` and decoder row `d_j` leaves
`e - f_j d_j`. The squared error changes by `f_j^2 |d_j|^2 - 2 f_j e . d_j` on the tokens on which the feature is
active, and by nothing on the others, so that lists of active features are all that is needed. Where it falls, the
feature is new there; where it rises, it describes again what is known.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy.sparse import coo_array, csr_array
from torch import Tensor

from sae_match.bootstrap import ROWS, bootstrap_weights, intervals
from sae_match.errors import UserError
from sae_match.evaluation.relations.overlap import Summed, alone
from sae_match.evaluation.relations.reading import read
from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.evaluation.statistics.streaming import Active, counted
from sae_match.evaluation.transport import reconstructed
from sae_match.matching.arithmetic import blocks
from sae_match.matching.relations.kinds import KINDS
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site
from sae_match.text.batches import TokenBatch

# Active features whose rows are multiplied at one time, and features whose replicates are made at one time.
_ENTRIES, _FEATURES = 2**14, 1024


@dataclass(frozen=True)
class NewShare:
    """How many of some features are new.

    Attributes:
        features: Those that are active often enough.
        new: Share of them whose addition lowers the error; its interval is over documents.
        surely_new: Share whose interval lies below zero.
        surely_known: Share whose interval lies above zero.
    """

    features: int
    new: Estimate
    surely_new: float
    surely_known: float


@dataclass(frozen=True, eq=False)
class Stitching:
    """What the features of a wider dictionary do to the error of a narrower one, each added alone.

    Attributes:
        change: Of the mean squared error a token, by feature; negative for what is new.
        low: Lower end of its 95 % interval over documents; nan where there is none.
        high: Upper end.
        active: Tokens on which each feature was active.
        error: Mean squared error a token of the narrower dictionary.
        tokens: That there were.
        documents: That intervals are over.
        shares: Of all features, `all`, and of those of each kind that was given, by its name.
    """

    change: Float64[Tensor, " n_wide"]
    low: Float64[Tensor, " n_wide"]
    high: Float64[Tensor, " n_wide"]
    active: Int64[Tensor, " n_wide"]
    error: float
    tokens: int
    documents: int
    shares: dict[str, NewShare]

    @property
    def enough(self) -> Bool[Tensor, " n_wide"]:
        """Features that are active often enough to say something of."""
        return self.active >= FEWEST_ACTIVATIONS


class StitchingSums:
    """Sums by document and feature, as text comes in; four numbers for each feature that a document wakes in a batch.

    Args:
        n_wide: Features of the dictionary that they come from.
    """

    def __init__(self, n_wide: int) -> None:
        self.n_wide = n_wide
        nothing = torch.zeros(0, 4, dtype=torch.float64)
        # Of each batch: document, feature, change of the squared error, active tokens.
        self._found = [nothing]
        # Of each batch and document: its number, tokens, squared error.
        self._read = [nothing[:, :3]]

    def add(
        self,
        x: Float[Tensor, "tokens d_in"],
        document: Int64[Tensor, " tokens"],
        narrow: SAE,
        wide: SAE,
        f: Float[Tensor, "tokens n_wide"] | None = None,
    ) -> None:
        """Add a batch of tokens.

        Args:
            x: What both dictionaries read.
            document: Number of each token's document in the dataset.
            narrow: The dictionary that features are added to.
            wide: Where they come from; of the same site and layer.
            f: Features of the latter, where they are at hand.

        Raises:
            UserError: If they read activations of unlike width.
        """
        if narrow.d_in != wide.d_in:
            raise UserError(
                f"the narrower dictionary reads activations of width {narrow.d_in}, the wider of width {wide.d_in}"
            )
        error = x - reconstructed(narrow, x)
        f = wide.encode(x) if f is None else f
        active = Active.of(f)
        value = f[active.token, active.feature].double()
        along = torch.empty_like(value)
        for some in blocks(len(value), _ENTRIES):
            along[some] = (error[active.token[some]] * wide.W_dec[active.feature[some]]).sum(1).double()
        change = value.square() * wide.W_dec.double().square().sum(1)[active.feature] - 2 * value * along
        numbers, place = document.unique(return_inverse=True)
        key = place[active.token] * wide.d_sae + active.feature
        keys, where = key.unique(return_inverse=True)
        changes = torch.zeros(len(keys), dtype=torch.float64, device=key.device).index_add_(0, where, change)
        sums = (numbers[keys // wide.d_sae], keys % wide.d_sae, changes, counted(where, len(keys)))
        self._found.append(torch.stack([each.double() for each in sums], 1).cpu())
        squares = counted(place, len(numbers), error.double().square().sum(1))
        self._read.append(torch.stack([numbers.double(), counted(place, len(numbers)), squares], 1).cpu())

    def flat(self) -> Float64[Tensor, " entries"]:
        """All that was added, in one vector on the CPU: how many rows there are of both kinds, then these."""
        found, read = torch.cat(self._found), torch.cat(self._read)
        return torch.cat([torch.tensor([len(found), len(read)]).double(), found.flatten(), read.flatten()])

    @classmethod
    def filled(cls, flat: Float64[Tensor, " entries"], n_wide: int) -> tuple["StitchingSums", Float64[Tensor, " rest"]]:
        """The sums that `flat` gave, and what stands behind them.

        Raises:
            ValueError: If `flat` cannot have given them.
        """
        rows = flat[:2].long().tolist()
        sizes = [4 * rows[0], 3 * rows[1]] if len(rows) == 2 else []
        if not sizes or min(sizes) < 0 or sum(sizes) > len(flat) - 2:
            raise ValueError("its sums of added features are cut off")
        found, read, rest = flat[2:].split([*sizes, len(flat) - 2 - sum(sizes)])
        sums = cls(n_wide)
        sums._found, sums._read = [found.reshape(-1, 4)], [read.reshape(-1, 3)]
        if len(found) and not ((sums._found[0][:, 1] >= 0) & (sums._found[0][:, 1] < n_wide)).all():
            raise ValueError(f"its added features must lie in 0 … {n_wide - 1}")
        return sums, rest

    def found(
        self, dataset: str, *, kind: Int64[Tensor, " n_wide"] | None = None, seed: int = 0, summed: Summed = alone
    ) -> Stitching:
        """What came out.

        Args:
            dataset: Whose text it was: replicates are those of all other numbers of that dataset.
            kind: Number of each feature's kind (`Relations.target_kind`), for shares by kind.
            seed: Of the bootstrap.
            summed: Adds up over processes that share the text, in each at the same step.

        Raises:
            UserError: If there was no token.
        """
        read = torch.cat(self._read)
        documents = read[:, 0].unique().long()
        changes, counts = self._by_document(documents)
        weights = bootstrap_weights(dataset, documents.tolist(), seed)
        of_documents = read.new_zeros(len(documents), 2)
        of_documents.index_add_(0, torch.searchsorted(documents, read[:, 0].long()), read[:, 1:])
        tokens, error = summed(weights @ of_documents).T
        if not tokens[0]:
            raise UserError("there is no token to stitch on; give some text")
        n = self.n_wide
        active = summed(torch.from_numpy(np.asarray(counts.sum(0)).ravel())).long()
        ends = torch.full((2, n), math.nan, dtype=torch.float64)
        groups = {"all": torch.ones(n, dtype=torch.bool)}
        if kind is not None:
            groups |= {name: kind == number for number, name in enumerate(KINDS) if bool((kind == number).any())}
        groups = {name: part & (active >= FEWEST_ACTIVATIONS) for name, part in groups.items()}
        below, of = ({name: torch.zeros(ROWS, dtype=torch.float64) for name in groups} for _ in range(2))
        total = torch.zeros(n, dtype=torch.float64)
        for some in blocks(n, _FEATURES):
            # Of a token: a replicate has other documents, and as many tokens as these have.
            rows = summed(weights @ torch.from_numpy(changes[:, some].toarray())).T / tokens
            total[some] = rows[:, 0]
            some_ends = [(math.nan, math.nan) if end is None else end for end in intervals(rows)]
            ends[:, some] = torch.tensor(some_ends, dtype=torch.float64).T
            for name, part in groups.items():
                chosen = rows[part[some]]
                below[name] += (chosen < 0).double().sum(0)
                # A replicate without any of a feature's documents says nothing of it.
                of[name] += ((chosen != 0) & chosen.isfinite()).double().sum(0)
        shares = {name: _share(below[name] / of[name], ends, part) for name, part in groups.items() if bool(part.any())}
        there = int(summed(torch.tensor(len(documents))))
        low, high = ends
        return Stitching(total, low, high, active, float(error[0] / tokens[0]), int(tokens[0]), there, shares)

    def _by_document(self, documents: Int64[Tensor, " documents"]) -> tuple[csr_array, csr_array]:
        """`[documents, n_wide]`: change of the squared error, and active tokens."""
        rows, columns, changes, counts = torch.cat(self._found).numpy().T
        place = np.searchsorted(documents.numpy(), rows)
        shape, at = (len(documents), self.n_wide), (place, columns.astype(np.int64))
        return csr_array(coo_array((changes, at), shape)), csr_array(coo_array((counts, at), shape))


def stitch(
    stream: ResidualStream,
    site: Site,
    layer: int,
    narrow: SAE,
    wide: SAE,
    batches: Sequence[TokenBatch],
    *,
    kind: Int64[Tensor, " n_wide"] | None = None,
    seed: int = 0,
    watch: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Stitching]:
    """Stitch two dictionaries of one layer on a text, by dataset.

    Args:
        stream: The language model.
        site: Where both read.
        layer: Of it.
        narrow: The dictionary that features are added to, on the model's device.
        wide: Where they come from.
        batches: The text.
        kind: Number of each feature's kind, for shares by kind.
        seed: Of the bootstrap.
        watch: Told how many batches are done, and of how many.

    Raises:
        UserError: If the dictionaries read activations of unlike width.
    """
    sums: dict[str, StitchingSums] = {}
    for number, one in enumerate(read(stream, site, [layer], batches), 1):
        if one.dataset not in sums:
            sums[one.dataset] = StitchingSums(wide.d_sae)
        sums[one.dataset].add(one.values[layer], one.document, narrow, wide)
        watch(number, len(batches))
    return {dataset: each.found(dataset, kind=kind, seed=seed) for dataset, each in sums.items()}


def _share(new: Float64[Tensor, " rows"], ends: Float64[Tensor, "two n"], part: Bool[Tensor, " n"]) -> NewShare:
    features = int(part.sum())
    return NewShare(
        features,
        Estimate.of(new),
        surely_new=float((ends[1] < 0)[part].double().mean()),
        surely_known=float((ends[0] > 0)[part].double().mean()),
    )
