"""What is measured of every pair of features: by weights alone, and of what classes of pairs did together on text."""

import torch
from jaxtyping import Int64
from torch import Tensor

from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS, Coactivation
from sae_match.evaluation.significance.over_features import Measured
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import Significance

#: Share of the features whose pair is significant; Storey's estimate of the share with a true partner.
SIGNIFICANT, STOREY = "significant_share", "storey_share"
#: Share of the features whose pair has a statistic from the plain cut on: a convention, said beside the others.
PLAIN, PLAIN_CUT = "plain_cut_share", 0.7
#: Of `Alternatives`: names of its shares, and where they come from.
_BESIDE = {
    "mutual_nearest": "mutual_nearest",
    "encoder_agreement": "encoder_agrees",
    "decoder_agreement": "decoder_agrees",
    "terms_agreement": "all_agree",
}
#: Measures of co-activation.
JACCARD, MATCHING_SCORE = "jaccard", "matching_score"
#: Classes of pairs, and how much more the first does together than the second.
TRUE, OTHERS, RATIO = "significant", "not_significant", "significance_ratio"
FIFTHS = 5


def of_significance(found: Significance, alpha: float) -> dict[str, Measured]:
    """Whether each tested feature's pair is significant, or beyond a plain cut; what Storey's share is the mean of."""
    # One without a partner has no p-value, and no true partner.
    true = torch.where(found.p.isnan(), 0, 1 - 2 * (found.p > 0.5).double())
    return {
        SIGNIFICANT: ((found.q <= alpha).double(), found.tested),
        STOREY: (true, found.tested),
        PLAIN: ((found.statistic >= PLAIN_CUT).double(), found.tested),
    }


def beside_significance(judged: Judged) -> dict[str, Measured]:
    """What else there is for or against each pair."""
    paired = judged.significance.matching.permutation >= 0
    where = judged.significance.tested & paired
    return {name: (getattr(judged.beside, part).double(), where) for name, part in _BESIDE.items()}


def of_classes(judged: Judged, alpha: float, together: Coactivation) -> dict[str, Measured]:
    """Co-activation of each pair, by class and by fifth of q; pairs with too few activations are left out of each."""
    q = judged.significance.q
    fifths = fifths_of(judged.significance)
    classes = {TRUE: q <= alpha, OTHERS: q > alpha}
    classes |= {f"fifth_{number + 1}": fifths == number for number in range(FIFTHS)}
    measures = {
        JACCARD: (together.jaccard, together.enough),
        MATCHING_SCORE: (together.sufficiency, together.paired & (together.source >= FEWEST_ACTIVATIONS)),
    }
    return {
        f"{measure}_{name}": (values, enough & part)
        for measure, (values, enough) in measures.items()
        for name, part in classes.items()
    }


def fifths_of(found: Significance) -> Int64[Tensor, " n_source"]:
    """Which fifth of the pairs of two layers each is in, by q, the most significant first; -1 without a q-value.

    Of equal q, the larger statistic comes first: where many have the smallest there can be, they are told apart.
    """
    known = (~found.q.isnan()).nonzero().flatten()
    order = known[found.statistic[known].argsort(descending=True, stable=True)]
    order = order[found.q[order].argsort(stable=True)]
    fifths = torch.full_like(found.matching.permutation, -1)
    fifths[order] = torch.arange(len(order)) * FIFTHS // max(1, len(order))
    return fifths
