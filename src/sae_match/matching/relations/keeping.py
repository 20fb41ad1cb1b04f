"""Relations found again on disk by what they are relations of."""

import hashlib
import json
import logging
from pathlib import Path

import torch

from sae_match.errors import UserError
from sae_match.matching.cache import MatchingCache
from sae_match.matching.relations.relations import relations
from sae_match.matching.relations.result import Relations
from sae_match.matching.relations.whitening import SHRINKAGE
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.result import Significance
from sae_match.saes.sae import SAE

log = logging.getLogger(__name__)

# Of what relations follow from; those of another one are found anew.
_FORMAT = 1


def kept_relations(
    source: SAE,
    target: SAE,
    matching: Matching,
    significance: Significance,
    *,
    alpha: float,
    settings: MatcherSettings,
    cache: MatchingCache,
    device: torch.device | str = "cpu",
) -> Relations:
    """`relations`, or what it found before for SAEs of the same content; beside the matchings that are kept.

    A file that cannot be used is made anew, one that cannot be written is done without; both are said aloud.

    Args:
        source: SAE that the matching starts from.
        target: SAE that it leads to.
        matching: Of these.
        significance: Of the matching.
        alpha: Level of the edges.
        settings: How the matching was found.
        cache: Where matchings are kept.
        device: Where nearest features are looked for.

    Raises:
        UserError: As `relations`.
    """
    about = significance.evidence
    told = {
        "kind": "relations",
        "format": _FORMAT,
        "settings": settings.identity(),
        "source": source.content_hash(),
        "target": target.content_hash(),
        "judged": [about.null, about.statistic, about.rotations, about.seed],
        "alpha": alpha,
        "shrinkage": SHRINKAGE,
        # Optima that are equally good may differ, and with them which edges are pairs of the matching.
        "permutation": hashlib.sha256(matching.permutation.cpu().numpy().tobytes()).hexdigest(),
        "significant": hashlib.sha256((significance.q <= alpha).cpu().numpy().tobytes()).hexdigest(),
    }
    name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    file = cache.folder / f"{name}.safetensors"
    if (found := _found(file, source.d_sae, target.d_sae)) is not None:
        return found
    source, target = source.to(device), target.to(device)
    found = relations(source, target, matching, significance, alpha=alpha, settings=settings)
    try:
        found.save(file)
    except UserError as error:
        log.warning("%s; relations are not kept for the next run", error)
    return found


def _found(file: Path, n_source: int, n_target: int) -> Relations | None:
    if not file.is_file():
        return None
    try:
        found = Relations.load(file)
        if (len(found.source_p), len(found.target_p)) != (n_source, n_target):
            raise UserError(f"{file} is not of these SAEs")
    except UserError as error:
        log.warning("%s; relations are found anew", error)
        return None
    log.debug("found in the cache: %s", file.name)
    return found
