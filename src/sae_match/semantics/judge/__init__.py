"""Judges: do two descriptions of features mean the same?"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_match.semantics.judge.opening import open_judge, open_judges
    from sae_match.semantics.judge.settings import JudgeSettings
    from sae_match.semantics.judge.verdicts import Described, DescribedPair, Estimate, Judge, Verdict

__all__ = ["Described", "DescribedPair", "Estimate", "Judge", "JudgeSettings", "Verdict", "open_judge", "open_judges"]

# Imported when they are asked for: settings below this room do without what judges are made of.
_MODULES = {
    "Described": "verdicts",
    "DescribedPair": "verdicts",
    "Estimate": "verdicts",
    "Judge": "verdicts",
    "JudgeSettings": "settings",
    "Verdict": "verdicts",
    "open_judge": "opening",
    "open_judges": "opening",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
