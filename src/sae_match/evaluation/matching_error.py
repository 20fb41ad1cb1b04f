"""The matching error: how far apart the parameters of matched features are, folded (Fig. 3) or as directions."""

import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.matching.cost import TERMS, Term
from sae_match.matching.result import Matching
from sae_match.saes.folding import fold_scale, folding_scale, live_features, natural_fold
from sae_match.saes.sae import SAE


def folded(sae: SAE) -> SAE:
    """An SAE in the scale that errors are compared in: folded by threshold, or by decoder norm where it has none."""
    # Features that cannot be folded stay as they are: no matching is found for them.
    return fold_scale(sae, folding_scale(sae, natural_fold(sae), live_features(sae)))


def matching_errors(source: SAE, target: SAE, matching: Matching) -> dict[Term, float]:
    """Mean squared difference of each term, over pairs and components; nan where there is no pair.

    Args:
        source: Folded, also for a matching that was found on unfolded ones, so that matchings can be compared.
        target: Likewise.
        matching: Of their features.
    """
    permutation = matching.permutation.to(source.W_dec.device)
    paired = permutation >= 0
    before, after = _by_feature(source), _by_feature(target)
    return {
        term: float((before[term][paired] - after[term][permutation[paired]]).double().square().mean())
        for term in TERMS
    }


def decoder_cosine(source: SAE, target: SAE, matching: Matching) -> Float[Tensor, " n_source"]:
    """Cosine between the decoder rows of each matched pair, float64; nan where there is no pair."""
    partner = matching.permutation.clamp_min(0)
    cosine = torch.nn.functional.cosine_similarity(source.W_dec.double(), target.W_dec.double()[partner])
    return torch.where(matching.permutation >= 0, cosine, torch.nan)


def pair_cosines(
    source: Float[Tensor, "n_source d"], target: Float[Tensor, "n_target d"], matching: Matching
) -> Float[Tensor, " n_source"]:
    """Cosine of the vectors of each matched pair, float32; nan where there is no partner."""
    partner = matching.permutation.to(target.device)
    cosines = torch.nn.functional.cosine_similarity(source, target[partner.clamp_min(0)], dim=1)
    return torch.where(partner >= 0, cosines, torch.nan).float().cpu()


def _by_feature(sae: SAE) -> dict[Term, Float[Tensor, "d_sae _"]]:
    """Parameters with one row a feature."""
    return {"W_enc": sae.W_enc.T, "b_enc": sae.b_enc[:, None], "W_dec": sae.W_dec}
