"""The long tables that every number of a study is found in."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sae_match.evaluation.statistics.results import COLLECTIONS
from sae_match.files import write_rows
from sae_match.report.judged.judgements import ARMS, SCORE, by_cost, by_pair, by_q, of_neighbours, scored, step_of
from sae_match.semantics.answers import Answer
from sae_match.semantics.judge.verdicts import LABELS
from sae_match.semantics.questions import MATCHED
from sae_match.semantics.scores import Score


@dataclass(frozen=True)
class JudgementResult:
    """One number of what a judge said of two layers.

    Attributes:
        source_layer, target_layer: The two.
        arm: What makes the target feature the source feature's partner: `matched`, `composed`, or a control.
        judge: Who said it.
        metric: `semantic_score`, or `semantic_share_1` to `_3`, the share of a label.
        value: The number.
        low, high: 95 % interval by bootstrap over paths, none where there is none.
        questions: Questions with a label, which the number is taken over.
        paths: Paths that they are about.
        source_collection, target_collection: What the two collections are called; empty of one, and no columns then.
    """

    source_layer: int
    target_layer: int
    arm: str
    judge: str
    metric: str
    value: float
    low: float | None
    high: float | None
    questions: int
    paths: int
    source_collection: str = ""
    target_collection: str = ""


@dataclass(frozen=True)
class JudgementSpan:
    """A score over all pairs of layers at the same distance.

    Attributes:
        span: Target layer less source layer.
        arm, judge, value, low, high, questions, paths: As in `JudgementResult`.
        metric: `semantic_score`; `semantic_score_fifth_1` to `_5`, of fifths of the pairs by cost, cheapest first; or
            `semantic_score_q_fifth_1` to `_5`, by q, the most significant first.
        pairs: Pairs of layers.
    """

    span: int
    arm: str
    judge: str
    metric: str
    value: float
    low: float | None
    high: float | None
    questions: int
    paths: int
    pairs: int


def results_of(answers: Sequence[Answer], judge: str) -> Iterator[JudgementResult]:
    """Scores and shares of labels of each arm and pair of layers."""
    names = next((answer.question.names for answer in answers), None) or ("", "")
    for (arm, source, target), found in by_pair(answers):
        at, counted = (source, target, arm, judge), (_labelled(found), found.paths)
        yield JudgementResult(*at, SCORE, found.value, found.low, found.high, *counted, *names)
        for label, count in zip(LABELS, found.counts[:3], strict=True):
            share = count / counted[0] if counted[0] else math.nan
            yield JudgementResult(*at, f"semantic_share_{label}", share, None, None, *counted, *names)


def spans_of(answers: Sequence[Answer], judge: str) -> Iterator[JudgementSpan]:
    """Scores of each arm over all pairs of layers at the same distance, and by fifth of neighbours' cost and q."""
    for arm, span in sorted({(answer.question.arm, answer.question.distance) for answer in answers}, key=_place):
        several = [answer for answer in answers if (answer.question.arm, answer.question.distance) == (arm, span)]
        yield _span(span, arm, judge, SCORE, scored(several), _layers(several))
    layers = _layers(of_neighbours(answers, MATCHED))
    for number, found in by_cost(answers):
        yield _span(step_of(answers), MATCHED, judge, f"{SCORE}_fifth_{number + 1}", found, layers)
    for number, found in by_q(answers):
        yield _span(step_of(answers), MATCHED, judge, f"{SCORE}_q_fifth_{number + 1}", found, layers)


def save_results(said: Mapping[str, Sequence[Answer]], folder: Path) -> None:
    """Write `results.csv` and `spans.csv` of what each judge, by name, said."""
    _save(folder / "results.csv", (row for judge, answers in said.items() for row in results_of(answers, judge)))
    _save(folder / "spans.csv", (row for judge, answers in said.items() for row in spans_of(answers, judge)))


def _save(path: Path, rows: Iterable[JudgementResult | JudgementSpan]) -> None:
    table = [asdict(row) for row in rows]
    named = any(row.get(COLLECTIONS[0]) for row in table)
    write_rows(path, [{key: row[key] for key in row if named or key not in COLLECTIONS} for row in table])


def _span(span: int, arm: str, judge: str, metric: str, found: Score, pairs: int) -> JudgementSpan:
    ends = found.value, found.low, found.high
    return JudgementSpan(span, arm, judge, metric, *ends, _labelled(found), found.paths, pairs)


def _labelled(found: Score) -> int:
    """Questions with a label."""
    return sum(found.counts[:3])


def _layers(answers: Sequence[Answer]) -> int:
    """Number of pairs of layers that answers are about."""
    return len({(answer.question.source_layer, answer.question.target_layer) for answer in answers})


def _place(group: tuple[str, int]) -> tuple[int, int]:
    return ARMS.index(group[0]), group[1]
