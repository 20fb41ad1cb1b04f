"""Judges answer questions: who they are, whether they can, and what they said."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rich.console import Console

from sae_match.progress import counting
from sae_match.semantics.evidence import Evidence
from sae_match.semantics.judge import Described, Judge, Verdict
from sae_match.semantics.judge.server.budget import Account
from sae_match.semantics.questions import Question
from sae_match.terminal import say

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A question, what the judge was shown, and what it said."""

    question: Question
    source: Described
    target: Described
    verdict: Verdict


@runtime_checkable
class Accounted(Protocol):
    """A judge that keeps an account of its calls."""

    @property
    def account(self) -> Account:
        """What it did so far."""


def named(judges: Sequence[Judge]) -> dict[str, Judge]:
    """Judges by name; where several have one name (another server, prompt or round), they are numbered."""
    found: dict[str, Judge] = {}
    for judge in judges:
        same = sum(other.name == judge.name for other in found.values())
        found[f"{judge.name} ({same + 1})" if same else judge.name] = judge
    return found


def warn_of_obstacles(judges: Mapping[str, Judge]) -> None:
    """Say now what would end the run later, when questions have been prepared for minutes or hours.

    Raises:
        UserError: If a judge cannot say anything, not even what it has said before.
    """
    for name, judge in judges.items():
        if (obstacle := judge.obstacle()) is not None:
            log.warning("%s: %s; the run goes well only if all it asks has been answered before", name, obstacle)


def asked(
    judge: Judge, questions: Sequence[Question], evidence: Evidence, console: Console, bars: Console | None
) -> list[Answer]:
    """What a judge says to every question.

    Args:
        judge: Who is asked.
        questions: About pairs of features.
        evidence: What the judge is shown of each.
        console: Where the estimate, before anybody is asked, and the account are told.
        bars: Where progress is shown; none for nowhere.

    Raises:
        UserError: If the judge cannot go on.
    """
    pairs = [
        (
            evidence.of(question.ends[0], question.source_feature),
            evidence.of(question.ends[1], question.target_feature),
        )
        for question in questions
    ]
    estimate = judge.estimate(pairs)
    if estimate.calls:
        say(console, f"  {judge.name}: {estimate}")
    with counting(bars, f"asking {judge.name}") as advance:
        verdicts = judge.judge(pairs, advance)
    if isinstance(judge, Accounted):
        say(console, f"  {judge.name}: {_spent(judge.account)}")
    return [
        Answer(question, *pair, verdict) for question, pair, verdict in zip(questions, pairs, verdicts, strict=True)
    ]


def _spent(account: Account) -> str:
    price = "at a price that is not known" if account.cost is None else f"${account.cost:.4f}"
    tokens = f"{account.tokens_in:,} tokens in and {account.tokens_out:,} out"
    return f"{account.calls:,} calls tried, {account.cached:,} answered before; {tokens}, {price}"
