"""Judges: do two descriptions of features mean the same?"""

from sae_match.semantics.judge.opening import open_judge, open_judges
from sae_match.semantics.judge.settings import JudgeSettings
from sae_match.semantics.judge.verdicts import Described, DescribedPair, Estimate, Judge, Verdict

__all__ = ["Described", "DescribedPair", "Estimate", "Judge", "JudgeSettings", "Verdict", "open_judge", "open_judges"]
