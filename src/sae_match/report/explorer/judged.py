"""What judges said of pairs of features: a chunk of its own, so that it can join a page that is already written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sae_match.files import written_whole
from sae_match.report.explorer.chunks import packed_json, rounded, write_packed
from sae_match.semantics.judge import Verdict
from sae_match.semantics.scores import Score

_NAME = "judgements"

#: Layer, by its name where it has one, and feature.
Feature = tuple[int | str, int]


@dataclass(frozen=True)
class JudgedPair:
    """Two features, and what every judge said of them.

    Attributes:
        arm: What makes the target the source's partner.
        source, target: The two.
        verdicts: One a judge, in the order of the judges.
    """

    arm: str
    source: Feature
    target: Feature
    verdicts: Sequence[Verdict]


@dataclass(frozen=True)
class Judgements:
    """What the page shows of judges.

    Attributes:
        scores: Of each judge, by name, the score of each arm between neighbouring layers.
        pairs: What was asked about.
        shown: What the judges were shown of each feature.
        about: What was asked, and by what evidence, by name.
    """

    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    pairs: Sequence[JudgedPair] = ()
    shown: Mapping[Feature, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)


def chunk_of_judgements(chunks: Path) -> Path:
    """Where judgements stand in a folder of chunks."""
    return chunks / f"{_NAME}.js"


def write_judgements(judgements: Judgements, chunks: Path) -> None:
    """Write the chunk, whole or not at all; one that is there is replaced.

    Raises:
        UserError: If it cannot be written.
    """
    value = {
        "about": list(judgements.about.items()),
        "judges": [
            {"name": name, "arms": [[arm, *_score(score)] for arm, score in arms.items()]}
            for name, arms in judgements.scores.items()
        ],
        "pairs": [
            [pair.arm, *pair.source, *pair.target, [_verdict(verdict) for verdict in pair.verdicts]]
            for pair in judgements.pairs
        ],
        "shown": [[*feature, text] for feature, text in judgements.shown.items()],
    }
    with written_whole(chunk_of_judgements(chunks)) as file:
        write_packed(file, _NAME, packed_json(value))


def _score(score: Score) -> list[object]:
    """Counts of labels 1 to 3 and of none, mean, and its interval."""
    ends = [None if end is None else rounded(end) for end in (score.low, score.high)]
    return [*score.counts, rounded(score.value), *ends]


def _verdict(verdict: Verdict) -> list[object]:
    """Label, score, similarity, and the judge's reason or why there is no label."""
    detail = None if verdict.detail is None else rounded(verdict.detail)
    return [verdict.label, rounded(verdict.score), detail, verdict.reason]
