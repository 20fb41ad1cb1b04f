"""SAE Match: which feature of one layer's sparse autoencoder is which feature of the next's."""

from sae_match.matching.composition import compose
from sae_match.matching.matching import Matching, match
from sae_match.saes.folding import fold_decoder_norm, fold_threshold
from sae_match.saes.formats import load_sae
from sae_match.saes.sae import SAE

__all__ = ["SAE", "Matching", "compose", "fold_decoder_norm", "fold_threshold", "load_sae", "match"]
