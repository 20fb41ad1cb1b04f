"""Answers whose scores one can do in one's head."""

import math

from sae_match.semantics.answers import Answer
from sae_match.semantics.judge import Described, Verdict
from sae_match.semantics.questions import Question


def answer(arm, source, target, labels, path=0, cost=math.nan):
    question = Question(arm, source, path, target, path + 1, path, cost)
    return Answer(question, Described(f"first {path}"), Described(f"second {path}"), Verdict(labels))


def answers():
    """Ten paths from layer 2 to 5: cheap steps are the same, expensive ones differ; random ones always differ."""
    made = []
    for path in range(10):
        label = (3, 3) if path < 4 else (2, 3) if path < 7 else (1, 1)
        for layer in (2, 3, 4):
            made.append(answer("matched", layer, layer + 1, label, path, cost=float(path + 10 * layer)))
            made.append(answer("random", layer, layer + 1, (1, 1), path))
            made.append(answer("identical", layer, layer, (3, 3), path, 0.0))
        for target in (4, 5):
            made.append(answer("matched", 2, target, (2, 2), path))
            made.append(answer("composed", 2, target, (1, 2), path))
    made.append(answer("nearest", 2, 3, (), 0))
    return made
