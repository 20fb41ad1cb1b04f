"""What a judge said, summed up: by arm and pair of layers, by cost, by distance; as tables for the terminal."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median

from rich.table import Table
from rich.text import Text

from sae_match.report.tables import plain_table
from sae_match.semantics.answers import Answer
from sae_match.semantics.judge.verdicts import LABELS
from sae_match.semantics.questions import (
    COMPOSED,
    IDENTICAL,
    MATCHED,
    NEAREST,
    NOT_SIGNIFICANT,
    RANDOM,
    SIGNIFICANT,
    Question,
)
from sae_match.semantics.scores import Kappa, Score, score

#: Arms in the order in which tables show them.
ARMS = (IDENTICAL, MATCHED, NEAREST, COMPOSED, SIGNIFICANT, NOT_SIGNIFICANT, RANDOM)
SCORE = "semantic_score"
_QUANTILES = 5
_COUNTED = ("different", "maybe", "same", "no label", "mean score")
# Of a table by distance: lines of near and of far layers at most, and starting layers that it has room for.
_NEAR, _FAR, _STARTS_ACROSS = 6, 6, 2


def scored(answers: Sequence[Answer]) -> Score:
    """Mean score of answers, and their counts."""
    return score(
        [answer.verdict.score for answer in answers],
        [answer.verdict.label for answer in answers],
        [answer.question.path for answer in answers],
    )


def of_neighbours(answers: Sequence[Answer], arm: str) -> list[Answer]:
    """Answers about steps of paths, or about the controls that go with them."""
    furthest = 0 if arm == IDENTICAL else step_of(answers)
    return [answer for answer in answers if answer.question.arm == arm and answer.question.distance == furthest]


def by_pair(answers: Sequence[Answer]) -> Iterator[tuple[tuple[str, int, int], Score]]:
    """Score of each arm and pair of layers."""
    groups: dict[tuple[str, int, int], list[Answer]] = {}
    for answer in answers:
        question = answer.question
        groups.setdefault((question.arm, question.source_layer, question.target_layer), []).append(answer)
    for key in sorted(groups, key=lambda key: (ARMS.index(key[0]), key[1:])):
        yield key, scored(groups[key])


def by_cost(answers: Sequence[Answer]) -> list[tuple[int, Score]]:
    """Score by quantile of pair cost, ranked within each pair of layers: costs of other layers have other scales."""
    return _by_fifths(_by_layers(answers).values(), lambda question: (question.cost,))


def by_q(answers: Sequence[Answer]) -> list[tuple[int, Score]]:
    """Score by quantile of q, ranked within each pair of layers, the most significant first; of equal q by cost."""
    judged = [step for step in of_neighbours(answers, MATCHED) if math.isfinite(step.question.q)]
    groups: dict[tuple[int, int], list[Answer]] = {}
    for step in judged:
        groups.setdefault((step.question.source_layer, step.question.target_layer), []).append(step)
    return _by_fifths(groups.values(), lambda question: (question.q, question.cost))


def _by_fifths(
    by_layers: Iterable[Sequence[Answer]], rank_by: Callable[[Question], tuple[float, ...]]
) -> list[tuple[int, Score]]:
    groups: list[list[Answer]] = [[] for _ in range(_QUANTILES)]
    for steps in by_layers:
        ranked = sorted(steps, key=lambda step: rank_by(step.question))
        for rank, step in enumerate(ranked):
            # The middle of a rank: a lone pair is neither cheap nor expensive.
            groups[(2 * rank + 1) * _QUANTILES // (2 * len(ranked))].append(step)
    return [(number, scored(group)) for number, group in enumerate(groups) if group]


def relative_costs(answers: Sequence[Answer]) -> dict[int, list[float]]:
    """Costs of steps by label, in medians of the same two layers: costs of other layers have other scales."""
    found: dict[int, list[float]] = {label: [] for label in LABELS}
    for steps in _by_layers(answers).values():
        middle = median(step.question.cost for step in steps)
        for step in steps:
            # Pairs that cost nothing at all have no scale.
            if step.verdict.label is not None and middle > 0:
                found[step.verdict.label].append(step.question.cost / middle)
    return found


def _by_layers(answers: Sequence[Answer]) -> dict[tuple[int, int], list[Answer]]:
    """Steps of paths whose cost is known, by pair of layers."""
    groups: dict[tuple[int, int], list[Answer]] = {}
    for step in of_neighbours(answers, MATCHED):
        if math.isfinite(step.question.cost):
            groups.setdefault((step.question.source_layer, step.question.target_layer), []).append(step)
    return groups


def by_distance(answers: Sequence[Answer]) -> list[tuple[tuple[str, int, int], Score]]:
    """Of `by_pair`, what is about descendants: exact and composed matchings from each starting layer."""
    found = [(key, result) for key, result in by_pair(answers) if key[0] in (MATCHED, COMPOSED)]
    starts = {source for (arm, source, _), _ in found if arm == COMPOSED}
    return [(key, result) for key, result in found if key[1] in starts]


def summary(answers: Sequence[Answer]) -> dict[str, float]:
    """Mean score of each arm between neighbouring layers, with its interval."""
    found: dict[str, float] = {}
    for arm in ARMS:
        if several := of_neighbours(answers, arm):
            result = scored(several)
            ends = {f"{SCORE}/{arm}/low": result.low, f"{SCORE}/{arm}/high": result.high}
            found |= {f"{SCORE}/{arm}": result.value, **{name: end for name, end in ends.items() if end is not None}}
    return found


def rows_of(answers: Sequence[Answer]) -> list[dict[str, object]]:
    """Every answer, with what the judge was shown."""
    return [
        {
            **_asked(answer.question),
            "label": answer.verdict.label,
            "score": answer.verdict.score,
            "similarity": answer.verdict.detail,
            "reason": answer.verdict.reason,
            "source_description": answer.source.text,
            "target_description": answer.target.text,
        }
        for answer in answers
    ]


def _asked(question: Question) -> dict[str, object]:
    """A question by column; the collections are columns where there are two."""
    told = {name: value for name, value in vars(question).items() if name != "names"}
    names = question.names
    return told if names is None else {**told, "source_collection": names[0], "target_collection": names[1]}


def score_table(answers: Sequence[Answer]) -> Table:
    """One line an arm, between neighbouring layers: counts and mean score with its interval."""
    table = plain_table("arm", *_COUNTED)
    for arm in ARMS:
        if found := of_neighbours(answers, arm):
            table.add_row(arm, *_counted(scored(found)), style="bold" if arm == MATCHED else None)
    return table


def cost_table(answers: Sequence[Answer]) -> Table:
    """One line a fifth of matched neighbours, the cheapest first: counts and mean score with its interval."""
    return _fifths_table("fifth of cost", by_cost(answers), ("cheapest", "costliest"))


def q_table(answers: Sequence[Answer]) -> Table:
    """The same by q, the most significant first."""
    return _fifths_table("fifth of q", by_q(answers), ("surest", "least sure"))


def _fifths_table(title: str, fifths: Iterable[tuple[int, Score]], names: tuple[str, str]) -> Table:
    table = plain_table(title, *_COUNTED)
    for number, found in fifths:
        ends = {0: f"1 ({names[0]})", _QUANTILES - 1: f"{_QUANTILES} ({names[1]})"}
        table.add_row(ends.get(number, str(number + 1)), *_counted(found))
    return table


def distance_tables(answers: Sequence[Answer]) -> Iterator[Table]:
    """One line a distance, near ones all and far ones some; a column for exact and composed from each start.

    A table has two starts at most, as there is no room for more.
    """
    found = {
        (source, arm, target - source): _with_interval(result) for (arm, source, target), result in by_distance(answers)
    }
    starts = sorted({start for start, _, _ in found})
    for at in range(0, len(starts), _STARTS_ACROSS):
        columns = [(start, arm) for start in starts[at : at + _STARTS_ACROSS] for arm in (MATCHED, COMPOSED)]
        names = (f"from {start}, {'exact' if arm == MATCHED else arm}" for start, arm in columns)
        table = plain_table("distance", *names)
        for distance in shown_distances(distance for start, arm, distance in found if (start, arm) in columns):
            table.add_row(str(distance), *(found.get((*column, distance), "") for column in columns))
        yield table


def shown_distances(distances: Iterable[int]) -> list[int]:
    """The first ones all, since meaning fades fast; of the others every so many, back from the last."""
    ordered = sorted(set(distances))
    near, far = ordered[:_NEAR], ordered[_NEAR:]
    step = max(1, math.ceil(len(far) / _FAR))
    return near + far[::-step][::-1]


def kappa_table(kappas: Mapping[str, Kappa]) -> Table:
    """One line a comparison of labels."""
    table = plain_table("agreement of", "pairs", "equal labels", "Cohen's kappa")
    for name, found in kappas.items():
        equal = "-" if math.isnan(found.agreement) else f"{found.agreement:.0%}"
        table.add_row(name, f"{found.questions:,}", equal, _with_interval(found))
    return table


def _counted(found: Score) -> Iterator[str | Text]:
    yield from (f"{count:,}" for count in found.counts)
    yield _with_interval(found)


def _with_interval(found: Score | Kappa) -> Text:
    if math.isnan(found.value):
        return Text("-")
    if found.low is None or found.high is None:
        return Text(f"{found.value:.2f}")
    return Text.assemble(f"{found.value:.2f} ", (f"{found.low:.2f}…{found.high:.2f}", "dim"))


def step_of(answers: Sequence[Answer]) -> int:
    """Distance of neighbouring layers."""
    return min((answer.question.distance for answer in answers if answer.question.arm != IDENTICAL), default=1)
