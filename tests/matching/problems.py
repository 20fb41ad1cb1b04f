"""Problems and independent answers for the tests of the matching."""

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from sae_match import SAE
from sae_match.matching.cost import FeatureVectors, term_weights
from sae_match.matching.solver import centre

ALL = term_weights(("W_enc", "b_enc", "W_dec"))
PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
SOLVERS = [("dense", "auto"), *(("sparse", precision) for precision in PRECISIONS)]


def plain(rows) -> FeatureVectors:
    """Feature vectors that are the given rows."""
    rows = torch.as_tensor(rows)
    return FeatureVectors((rows,), (torch.ones(len(rows), dtype=torch.float64),), ("W_dec",))


def normal(seed: int, n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_rows(vectors: FeatureVectors) -> np.ndarray:
    return vectors.rows(slice(None)).numpy()


def naive_costs(source: FeatureVectors, target: FeatureVectors) -> np.ndarray:
    """Squared distances from differences, wider than float64."""
    rows, columns = (all_rows(side).astype(np.longdouble) for side in (source, target))
    return np.stack([np.square(row - columns).sum(-1) for row in rows])


def rounding(source: FeatureVectors, target: FeatureVectors) -> np.ndarray:
    """What float64 may be off by, for each source feature, where costs come of products about the centre."""
    return centre.rounding_margin(*centre.about_centre(source, target)).numpy()[:, None]


def cost_matrix(source: FeatureVectors, target: FeatureVectors) -> torch.Tensor:
    """Squared distances of all pairs as the dense solver has them."""
    return centre.cost_matrix(*centre.about_centre(source, target))


def optimum(costs: np.ndarray) -> float:
    costs = costs.astype(np.float64)
    return math.fsum(costs[linear_sum_assignment(costs)])


def sae_of_rows(rows: torch.Tensor) -> SAE:
    """An SAE whose decoder has the given rows; nothing else varies."""
    rows = rows.float()
    n, d = rows.shape
    return SAE(torch.ones(d, n), torch.ones(n), rows, torch.zeros(d), torch.ones(n))


def noisy_copy(sae: SAE, seed: int, similarity: float = 0.8) -> SAE:
    """Each feature mixed with as much noise as the similarity leaves, in another order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(sae.d_sae, generator=generator)

    def mixed(tensor: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(tensor.shape, generator=generator)
        return similarity * tensor + math.sqrt(1 - similarity**2) * noise

    return SAE(
        mixed(sae.W_enc)[:, order],
        mixed(sae.b_enc)[order],
        mixed(sae.W_dec)[order],
        sae.b_dec,
        sae.threshold[order],
    )


def repeated(sae: SAE, index: torch.Tensor) -> SAE:
    """The features at an index, which may hold one several times."""
    return SAE(sae.W_enc[:, index], sae.b_enc[index], sae.W_dec[index], sae.b_dec, sae.threshold[index])
