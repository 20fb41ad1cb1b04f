"""`Significance`: which pairs of a matching are matches, with the evidence for it; and the files that hold it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.result import Evidence, Matching
from sae_match.matching.significance.settings import refuse_impossible_alpha
from sae_match.matching.significance.values import p_values, q_values, storey_share
from sae_match.matching.tensor_files import load_tensors, save_tensors

#: Level of `Significance.share`.
ALPHA = 0.05
#: Of the null's statistics, which are kept.
PROBABILITIES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_HIGH = PROBABILITIES.index(0.95)

_TENSORS = ("permutation", "pair_cost", "statistic", "p", "q", "tested")


@dataclass(frozen=True)
class NullEvidence:
    """What a significance rests on.

    Attributes:
        null: Which random targets.
        statistic: Which statistic.
        rotations: How many random targets.
        seed: That their seeds come from.
        seeds: Of each of them.
        draws: Statistics of chance that every pair is compared with; one is drawn for each feature that looked for a
            partner in a random target, whether it found one or not.
        paired: Share of them that found one.
        quantiles: Of those, at `PROBABILITIES`.
        rows: Source features that looked for a partner in each random target, where not all did.
        together: Pairs of layers whose pairs were decided about together.
    """

    null: str
    statistic: str
    rotations: int
    seed: int
    seeds: tuple[int, ...]
    draws: int
    paired: float
    quantiles: tuple[float, ...]
    rows: int | None = None
    together: int = 1

    @property
    def resolution(self) -> float:
        """The smallest p-value that there can be."""
        return 1 / (1 + self.draws)


@dataclass(frozen=True, eq=False, repr=False)
class Significance:
    """Which pairs of a matching are matches.

    Attributes:
        matching: The matching.
        statistic: Of each pair; nan where there is none, or a feature has no direction.
        p: Probability that chance gives a feature a pair that is as good.
        q: Of all pairs that are as good or better, the share that chance accounts for.
        tested: Source features that took part and have directions. One without a partner has neither p nor q, but
            counts.
        evidence: What it rests on.

    Raises:
        UserError: If shapes or dtypes are wrong.
    """

    matching: Matching
    statistic: Float64[Tensor, " n_source"]
    p: Float64[Tensor, " n_source"]
    q: Float64[Tensor, " n_source"]
    tested: Bool[Tensor, " n_source"]
    evidence: NullEvidence

    def __post_init__(self) -> None:
        shape = self.matching.permutation.shape
        dtypes = {"statistic": torch.float64, "p": torch.float64, "q": torch.float64, "tested": torch.bool}
        for name, dtype in dtypes.items():
            tensor: Tensor = getattr(self, name)
            if tensor.dtype != dtype or tensor.shape != shape:
                raise UserError(f"{name} must be {dtype} {list(shape)}, got {tensor.dtype} {list(tensor.shape)}")

    def __repr__(self) -> str:
        return (
            f"Significance({int(self.tested.sum())} features, share={self.share:.3f}, storey={self.storey:.3f}, "
            f"null={self.evidence.null!r}, rotations={self.evidence.rotations})"
        )

    @property
    def share(self) -> float:
        """Share of the tested features whose pair has `q <= 0.05`."""
        return self.share_at(ALPHA)

    @property
    def storey(self) -> float:
        """Storey's estimate of the share of the tested features that have a true partner."""
        return storey_share(self.p, self.tested)

    def share_at(self, alpha: float) -> float:
        """Share of the tested features whose pair has `q <= alpha`; nan where none is tested.

        Raises:
            UserError: If alpha is not between 0 and 1.
        """
        refuse_impossible_alpha(alpha)
        return float((self.q <= alpha)[self.tested].double().mean()) if self.tested.any() else math.nan

    def cut(self, alpha: float) -> float:
        """The smallest statistic that is significant; infinite where none is.

        Raises:
            UserError: If alpha is not between 0 and 1.
        """
        refuse_impossible_alpha(alpha)
        kept = self.statistic[self.q <= alpha]
        return float(kept.min()) if len(kept) else math.inf

    def significant(self, alpha: float) -> Matching:
        """The matching of the pairs with `q <= alpha`; the other features have no partner.

        Nothing is proven about its cost: the lower bound is minus infinity.

        Raises:
            UserError: If alpha is not between 0 and 1.
        """
        refuse_impossible_alpha(alpha)
        keep, evidence = self.q <= alpha, self.evidence
        notes = {
            "significance": f"q <= {alpha:g}, {evidence.null}, {evidence.rotations} rotations, seed {evidence.seed}"
        }
        return replace(
            self.matching,
            permutation=torch.where(keep, self.matching.permutation, -1),
            pair_cost=torch.where(keep, self.matching.pair_cost, torch.nan),
            lower_bound=-math.inf,
            provenance={**self.matching.provenance, **notes},
            evidence=None,
        )

    def save(self, path: str | Path) -> None:
        """Write as safetensors, whole or not at all, with the matching's provenance in the metadata."""
        matching = self.matching
        tensors = {name: getattr(self, name) for name in _TENSORS[2:]}
        notes = {
            "kind": "significance",
            "null_evidence": json.dumps(asdict(self.evidence)),
            "lower_bound": repr(matching.lower_bound),
            "one_to_one": json.dumps(matching.one_to_one),
        }
        if matching.evidence is not None:
            notes["evidence"] = json.dumps(asdict(matching.evidence))
        pairs = {"permutation": matching.permutation, "pair_cost": matching.pair_cost}
        save_tensors(Path(path), {**pairs, **tensors}, {**matching.provenance, **notes})

    @classmethod
    def load(cls, path: str | Path) -> "Significance":
        """Read what `save` wrote.

        Raises:
            UserError: If the file is missing, damaged, of another format version or no significance.
        """
        tensors, notes = load_tensors(Path(path), _TENSORS)
        try:
            if notes.pop("kind") != "significance":
                raise ValueError("another kind of file")
            told = json.loads(notes.pop("null_evidence"))
            evidence = NullEvidence(**{**told, **{name: tuple(told[name]) for name in ("seeds", "quantiles")}})
            bound, one_to_one = float(notes.pop("lower_bound")), bool(json.loads(notes.pop("one_to_one")))
            solved = Evidence(**json.loads(notes.pop("evidence"))) if "evidence" in notes else None
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path} was not written by Significance.save: {error!r} in its metadata") from error
        matching = Matching(tensors["permutation"], tensors["pair_cost"], bound, notes, solved, one_to_one)
        return cls(matching, tensors["statistic"], tensors["p"], tensors["q"], tensors["tested"], evidence)


def judged(
    matching: Matching,
    statistic: Float64[Tensor, " n_source"],
    tested: Bool[Tensor, " n_source"],
    null: Float64[Tensor, " draws"],
    about: NullEvidence,
) -> Significance:
    """Pairs judged by their statistics against those of chance.

    Args:
        matching: The pairs.
        statistic: Of each pair.
        tested: Source features that took part and have directions.
        null: Statistics of chance, all features and random targets together; nan where a feature found no pair.
        about: The null, but for what its draws say.
    """
    return judged_by_worst(matching, statistic, tested, [null], about)


def judged_by_worst(
    matching: Matching,
    statistic: Float64[Tensor, " n_source"],
    tested: Bool[Tensor, " n_source"],
    nulls: Sequence[Float64[Tensor, " draws"]],
    about: NullEvidence,
) -> Significance:
    """Pairs judged against several nulls, all of which must be wrong: the largest p-value counts.

    The evidence is that of the null whose 95 % quantile is highest.
    """
    observed = torch.where(tested, statistic, torch.nan)
    p = torch.stack([p_values(observed, null.nan_to_num(-math.inf)) for null in nulls]).amax(0)
    found = [null[~null.isnan()] for null in nulls]
    at = torch.tensor(PROBABILITIES, dtype=torch.float64)
    quantiles = [_quantiles(each, at) for each in found]
    worst = max(range(len(nulls)), key=lambda number: float(quantiles[number][_HIGH].nan_to_num(-math.inf)))
    evidence = replace(
        about,
        draws=len(nulls[worst]),
        paired=len(found[worst]) / max(1, len(nulls[worst])),
        quantiles=tuple(quantiles[worst].tolist()),
    )
    return Significance(matching, statistic, p, q_values(p, tested), tested, evidence)


def over_all_pairs(significances: Sequence[Significance]) -> list[Significance]:
    """The same pairs with q-values that are controlled over all of them together, not pair of layers by pair.

    Raises:
        UserError: If there are none, or they rest on different nulls or statistics.
    """
    kinds = {(each.evidence.null, each.evidence.statistic) for each in significances}
    if len(kinds) != 1:
        found = "; ".join(sorted(" ".join(kind) for kind in kinds)) or "none"
        raise UserError(f"significances of one null and one statistic can be decided about together, got {found}")
    sizes = [len(each.p) for each in significances]
    q = q_values(torch.cat([each.p for each in significances]), torch.cat([each.tested for each in significances]))
    together = len(significances)
    return [
        replace(each, q=part.clone(), evidence=replace(each.evidence, together=together))
        for each, part in zip(significances, q.split(sizes), strict=True)
    ]


def _quantiles(values: Float64[Tensor, " n"], at: Float64[Tensor, " k"]) -> Float64[Tensor, " k"]:
    if len(values) == 0:
        return torch.full_like(at, math.nan)
    # `torch.quantile` takes no more than some millions.
    ordered = values.sort().values
    return ordered[(at * (len(ordered) - 1)).round().long()]
