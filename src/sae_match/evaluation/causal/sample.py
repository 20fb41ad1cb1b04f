"""Which features of a pair of layers are switched off, with the partners that their effect is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import COACTIVATION, MATCHED, RANDOM
from sae_match.evaluation.causal.drawing import in_proportion, thirds, uniform
from sae_match.evaluation.causal.live import LiveFeatures
from sae_match.evaluation.causal.settings import CausalSettings
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.matching import baselines
from sae_match.saes.sae import SAE
from sae_match.saes.two import pair_name

#: The arms of a causal check beside `matched` and `random`: the target feature that is nearest to the source's but for
#: its partner, and a target feature drawn among those that are active on the same tokens, anew in each document.
NEAREST_OTHER, RANDOM_LIVE = "nearest_other", "random_live"
#: All of them, in the order of their columns.
ARMS = (MATCHED, NEAREST_OTHER, RANDOM_LIVE, RANDOM)
#: Those whose partner is known before any text is read.
FIXED = (MATCHED, NEAREST_OTHER, RANDOM)

SIGNIFICANT, NOT_SIGNIFICANT = "significant", "not_significant"
#: The cut by cosine that everybody uses, and one below it.
_CUT, _LOWER = 0.7, 0.5
# Source features that are compared with all of the target at one time.
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Sample:
    """Features of a pair of layers that are switched off.

    Attributes:
        pair: The layers.
        features: Numbers of the source features, ascending.
        partners: Target feature of each arm whose partner is known beforehand; -1 for none.
        share: Of each dataset: of the documents in which each feature is active, the share in which it is switched off.
        cost: Of each pair of `matched`.
        statistic: Mean of encoder's and decoder's cosine of each pair of `matched`.
        q: Of each pair; nan where nothing was judged.
        classes: Features of each class, by name.
        width: Features of the target.
        candidates: Features that there were to draw from: active somewhere, and with a partner.
        silent: Features with a partner that are active nowhere.
    """

    pair: Pair
    features: Int64[Tensor, " n"]
    partners: Mapping[str, Int64[Tensor, " n"]]
    share: Mapping[str, Float64[Tensor, " n"]]
    cost: Float64[Tensor, " n"]
    statistic: Float64[Tensor, " n"]
    q: Float64[Tensor, " n"]
    classes: Mapping[str, Bool[Tensor, " n"]] = field(default_factory=dict)
    width: int = 0
    candidates: int = 0
    silent: int = 0

    def __len__(self) -> int:
        return len(self.features)


def sampled(
    pair: Pair,
    saes: tuple[SAE, SAE],
    ends: tuple[int, int],
    found: PairMatchings,
    live: LiveFeatures,
    datasets: Sequence[str],
    settings: CausalSettings,
    *,
    alpha: float,
    seed: int,
) -> Sample:
    """Draw features of a pair of layers, each class of significance, cosine, cost and frequency by its share.

    Args:
        pair: The layers.
        saes: Of source and target.
        ends: What they are asked for by.
        found: How features are matched.
        live: How often they are active.
        datasets: Of the text.
        settings: How many are drawn.
        alpha: Level at which a pair is significant.
        seed: Of all draws.
    """
    source, target = saes
    matched, tokens = found.matchings[MATCHED], live.tokens(ends[0])
    has = matched.permutation >= 0
    among = (has & (tokens > 0)).nonzero()[:, 0]
    statistic = (found.encoder_cosine.double() + found.decoder_cosine.double()) / 2
    q = torch.full_like(statistic, torch.nan) if found.judged is None else found.judged.significance.q.double()
    classes = _classes(matched.pair_cost, statistic, q, alpha)
    strata = np.stack(
        [
            *(classes[name][among].numpy() for name in (SIGNIFICANT, NOT_SIGNIFICANT)),
            *(thirds(each[among].double().numpy()) for each in (statistic, matched.pair_cost, tokens)),
        ],
        axis=1,
    ).astype(np.int64)
    order = uniform(seed, f"features of {pair_name(pair)}", among.numpy())
    wanted = len(among) if settings.most is None else settings.most
    chosen = among[torch.from_numpy(in_proportion(strata, wanted, order))]
    partner = matched.permutation[chosen]
    drawn = found.matchings.get(RANDOM) or baselines.random(source, target.d_sae, seed=seed + pair[0])
    partners = {
        MATCHED: partner,
        NEAREST_OTHER: nearest_other(source, target, chosen, partner),
        RANDOM: drawn.permutation[chosen],
    }
    if COACTIVATION in found.matchings:
        partners[COACTIVATION] = found.matchings[COACTIVATION].permutation[chosen]
    share = {
        dataset: (settings.documents / live.documents(ends[0], dataset)[chosen].clamp_min(1.0)).clamp_max(1.0)
        for dataset in datasets
    }
    return Sample(
        pair,
        chosen,
        partners,
        share,
        matched.pair_cost[chosen].double(),
        statistic[chosen],
        q[chosen],
        {name: where[chosen] for name, where in classes.items()},
        target.d_sae,
        len(among),
        int(has.sum()) - len(among),
    )


def nearest_other(
    source: SAE, target: SAE, features: Int64[Tensor, " n"], partner: Int64[Tensor, " n"]
) -> Int64[Tensor, " n"]:
    """The target feature whose encoder and decoder are most like each source feature's, its partner left out.

    -1 where the target has no other feature.
    """
    likeness = torch.full((len(features), target.d_sae), -torch.inf, dtype=torch.float32)
    if target.d_sae < 2:
        return torch.full_like(partner, -1)
    rows = features.to(source.W_dec.device)
    for start, some in zip(range(0, len(rows), _BLOCK), rows.split(_BLOCK), strict=True):
        both = [
            torch.nn.functional.normalize(mine.float()) @ torch.nn.functional.normalize(theirs.float()).T
            for mine, theirs in ((source.W_enc.T[some], target.W_enc.T), (source.W_dec[some], target.W_dec))
        ]
        likeness[start : start + len(some)] = (both[0] + both[1]).cpu()
    here = (partner >= 0).nonzero()[:, 0]
    likeness[here, partner[here]] = -torch.inf
    return likeness.argmax(1)


def _classes(
    cost: Float64[Tensor, " n"], statistic: Float64[Tensor, " n"], q: Float64[Tensor, " n"], alpha: float
) -> dict[str, Bool[Tensor, " n"]]:
    """Features of each class, by name: by significance, by cosine, by thirds of the cost of all pairs."""
    paired = ~cost.isnan()
    third = torch.full_like(cost, -1)
    third[paired] = torch.from_numpy(thirds(cost[paired].double().numpy())).double()
    return {
        SIGNIFICANT: q <= alpha,
        NOT_SIGNIFICANT: q > alpha,
        "cosine_from_0.7": statistic >= _CUT,
        "cosine_0.5_to_0.7": (statistic >= _LOWER) & (statistic < _CUT),
        "cosine_below_0.5": statistic < _LOWER,
        "cheapest_third": third == 0,
        "middle_third": third == 1,
        "dearest_third": third == 2,
    }
