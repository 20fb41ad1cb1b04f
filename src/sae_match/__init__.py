"""SAE Match: which feature of one layer's sparse autoencoder is which feature of the next's."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from sae_match.matching.between import match_collections
    from sae_match.matching.composition import compose
    from sae_match.matching.matching import match
    from sae_match.matching.relations.relations import relations
    from sae_match.matching.result import Matching
    from sae_match.matching.significance.significance import significance
    from sae_match.report.reading.run import open_run
    from sae_match.report.steering.asking import groups, steer
    from sae_match.saes.collection import SAECollection
    from sae_match.saes.folding import fold_decoder_norm, fold_threshold
    from sae_match.saes.formats import describe, load_sae
    from sae_match.saes.sae import SAE
    from sae_match.semantics.features.asking import features

__all__ = [
    "SAE",
    "Matching",
    "SAECollection",
    "compose",
    "describe",
    "features",
    "fold_decoder_norm",
    "fold_threshold",
    "groups",
    "load_sae",
    "match",
    "match_collections",
    "open_run",
    "relations",
    "significance",
    "steer",
]

# Imported when they are asked for: a program that only says what it can be told does without torch.
_MODULES = {
    "SAE": "saes.sae",
    "Matching": "matching.result",
    "SAECollection": "saes.collection",
    "compose": "matching.composition",
    "describe": "saes.formats",
    "features": "semantics.features.asking",
    "fold_decoder_norm": "saes.folding",
    "fold_threshold": "saes.folding",
    "groups": "report.steering.asking",
    "load_sae": "saes.formats",
    "match": "matching.matching",
    "match_collections": "matching.between",
    "open_run": "report.reading.run",
    "relations": "matching.relations.relations",
    "significance": "matching.significance.significance",
    "steer": "report.steering.asking",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module(f"{__name__}.version").version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
