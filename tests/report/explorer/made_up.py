"""A small explorer whose every number can be done in one's head."""

import base64
import dataclasses
import gzip
import json
import math
from pathlib import Path

import torch

from sae_match.report.explorer.data import Context, ExplorerData, LayerData, StepData, StepEvidence
from sae_match.report.explorer.judged import JudgedPair, Judgements
from sae_match.semantics.judge import Verdict
from sae_match.semantics.scores import Score

NASTY = "<script>alert(1)</script><b>bold</b> & </script>"
TOKENS = 1000
#: Layer 3 is missing, and there is no step from layer 4 to layer 5. Layer 5 is narrower.
WIDTHS = {0: 6, 1: 6, 2: 6, 4: 6, 5: 3}
DEAD = {(1, 5), (2, 0)}
SHIFTS = {(0, 1): 1, (1, 2): 2, (2, 4): 0}


def active(layer, feature):
    return 0 if (layer, feature) in DEAD else 100 * (feature + 1) + layer


def label(layer, feature):
    if (layer, feature) in DEAD:
        return ""
    return NASTY if (layer, feature) == (1, 3) else f"words about topic{feature} in layer {layer}"


def contexts(layer, feature):
    if (layer, feature) in DEAD:
        return []
    tokens = [" the", f" mark{layer}x{feature}", "\n", " end"]
    return [Context(tokens, 1, 5.0 - rank, "prose", 10 * layer + rank) for rank in range(2)]


def link(layer, feature):
    return f"https://www.neuronpedia.org/model/{layer}-res/{feature}" if feature % 2 == 0 else None


def layer_data(layer):
    features = range(WIDTHS[layer])
    counts = torch.tensor([active(layer, feature) for feature in features])
    return LayerData(
        layer,
        TOKENS,
        counts,
        torch.where(counts > 0, counts / 8, math.nan),
        [label(layer, feature) for feature in features],
        lambda feature: contexts(layer, feature),
        lambda feature: link(layer, feature),
    )


def partner(source, target, feature):
    """Everything is shifted; feature 4 of layer 2 has no partner."""
    return -1 if (source, feature) == (2, 4) else (feature + SHIFTS[source, target]) % WIDTHS[target]


def cosine(feature):
    return (feature + 4) / 10


def step_data(source, target):
    features = range(WIDTHS[source])
    permutation = torch.tensor([partner(source, target, feature) for feature in features])

    def where_matched(value):
        return torch.where(permutation >= 0, torch.tensor([value(feature) for feature in features]), math.nan)

    return StepData(
        source,
        target,
        permutation,
        where_matched(lambda feature: feature + 0.5).double(),
        where_matched(lambda feature: cosine(feature) - 0.125).float(),
        where_matched(cosine).float(),
        torch.tensor([10 * feature for feature in features]),
    )


def explorer_data(**changes):
    parts = {
        "title": "Model <i>one</i>",
        "layers": [layer_data(layer) for layer in WIDTHS],
        "steps": [step_data(*pair) for pair in SHIFTS],
        "facts": {"Model": "one", "Text": NASTY},
    }
    return ExplorerData(**{**parts, **changes})


#: Level of the judged page: not one of those that it offers anyway.
ALPHA = 0.25


def q(layer, feature):
    """Significant are features 0 to 2 at a level of 0.25, and none at 0.05 but feature 0."""
    return (feature + layer / 8) / 8


def judged_data(**changes):
    """The same, its pairs judged; a pair of features that were active on fewer than 400 tokens says nothing."""
    steps = []
    for pair in SHIFTS:
        step, features = step_data(*pair), range(WIDTHS[pair[0]])
        known = step.permutation >= 0

        def of(values, known=known):
            return torch.where(known, torch.tensor(values, dtype=torch.float64), math.nan)

        evidence = StepEvidence(
            of([q(pair[0], feature) for feature in features]),
            of([0.25 for _ in features]),
            of([cosine(feature) for feature in features]),
            of([0.125 for _ in features]),
            torch.tensor([feature % 2 == 1 for feature in features]),
            torch.tensor([True for _ in features]),
            torch.tensor([False for _ in features]),
        )
        steps.append(dataclasses.replace(step, evidence=evidence))
    return explorer_data(**{"steps": steps, "alpha": ALPHA, "fewest_activations": 400, **changes})


JUDGES = ("overlap", "a model")


def judgements():
    """Two judges were asked about three pairs that begin at feature 2 of layer 0, and one at feature 3 of layer 1."""
    no_label = Verdict((), reason=f"refused: {NASTY}")
    pairs = [
        JudgedPair("matched", (0, 2), (1, 3), [Verdict((3,), 0.5), Verdict((3, 2), reason=NASTY)]),
        JudgedPair("matched", (0, 2), (2, 1), [Verdict((1,), 0.0), Verdict((1, 1))]),
        JudgedPair("composed", (0, 2), (2, 5), [Verdict((2,), 0.25), Verdict((2, 2))]),
        JudgedPair("matched", (1, 3), (2, 5), [Verdict((1,), 0.0), no_label]),
    ]
    scores = {
        judge: {
            "matched": Score(2.25, 2.0, 2.5, (10, 20, 30, number), 4),
            "random": Score(1.0, None, None, (60, 0, 0, 0), 1),
        }
        for number, judge in enumerate(JUDGES)
    }
    features = {feature for pair in pairs for feature in (pair.source, pair.target)}
    shown = {(layer, feature): f"shown of {layer}x{feature} {NASTY}" for layer, feature in sorted(features)}
    return Judgements(scores, pairs, shown, {"asked about": "4 paths", "shown": NASTY})


def received(file: Path):
    """What a chunk hands to the page."""
    text = file.read_text(encoding="ascii")
    start = f'Explorer.receive("{file.stem}",'
    assert text.startswith(start)
    assert text.endswith(");\n")
    return json.loads(text[len(start) : -3])


def unpacked(file: Path) -> bytes:
    return gzip.decompress(base64.b64decode(received(file)))
