"""How far judges agree, with themselves and with each other."""

from collections.abc import Iterable, Mapping, Sequence

from sae_match.semantics.answers import Answer
from sae_match.semantics.scores import Kappa, kappa


def kappas(said: Mapping[str, Sequence[Answer]]) -> dict[str, Kappa]:
    """Cohen's kappa of each judge with itself, over the two orders of a pair, and of the first with the others.

    Every pair of descriptions counts once, whichever questions it answers: what is said of it is said once. Equal
    descriptions do not count, of which only a broken judge would say anything but "the same".
    """
    counted = {judge: list(_different(answers)) for judge, answers in said.items()}
    found = {}
    for judge, answers in counted.items():
        both = [answer for answer in answers if len(answer.verdict.labels) == 2]
        if both:
            first, second = zip(*(answer.verdict.labels for answer in both), strict=True)
            found[f"{judge}, both orders"] = kappa(first, second, _paths(both))
    (first_judge, answers), *others = counted.items()
    for judge, several in others:
        labels, others_labels = ([answer.verdict.label for answer in some] for some in (answers, several))
        found[f"{first_judge} and {judge}"] = kappa(labels, others_labels, _paths(answers))
    return found


def kappa_rows(found: Mapping[str, Kappa]) -> list[dict[str, object]]:
    """Kappas as rows of a table, by name."""
    return [
        {
            "agreement_of": name,
            "kappa": one.value,
            "low": one.low,
            "high": one.high,
            "equal_labels": one.agreement,
            "pairs": one.questions,
        }
        for name, one in found.items()
    ]


def _different(answers: Sequence[Answer]) -> Iterable[Answer]:
    """The first answer about each pair of different descriptions, in either order."""
    first: dict[tuple[str, ...], Answer] = {}
    for answer in answers:
        texts = (answer.source.text, answer.target.text)
        if texts[0] != texts[1]:
            first.setdefault(tuple(sorted(texts)), answer)
    return first.values()


def _paths(answers: Sequence[Answer]) -> list[int]:
    return [answer.question.path for answer in answers]
