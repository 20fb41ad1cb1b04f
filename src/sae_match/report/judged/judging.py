"""What a study of meanings prints and leaves behind."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from lightning.pytorch.loggers import Logger
from rich.console import Console
from rich.table import Table

from sae_match.evaluation.statistics.results import Results, save_spans
from sae_match.matching.settings import MatcherSettings
from sae_match.report.console import matcher_line, print_rows
from sae_match.report.judged.judgements import (
    Answer,
    cost_table,
    distance_tables,
    kappa_table,
    results_of,
    rows_of,
    score_table,
    spans_of,
    summary,
)
from sae_match.report.judged.kappas import agreement_rows, agreements
from sae_match.report.judged.page import JudgedPage
from sae_match.report.judged.pictures import pictures
from sae_match.report.pictures import write_rows
from sae_match.report.tracking.wandb_logging import log_judgements, where_to_look
from sae_match.report.validation.progress import counting
from sae_match.semantics import questions as asking
from sae_match.semantics.evidence import Evidence
from sae_match.semantics.judge import Judge
from sae_match.semantics.judge.server.budget import Account
from sae_match.semantics.questions import Eligible, Question
from sae_match.semantics.scores import Kappa
from sae_match.semantics.settings import StudySettings

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Rows = Sequence[Mapping[str, object]]


@runtime_checkable
class Accounted(Protocol):
    """A judge that keeps an account of its calls."""

    @property
    def account(self) -> Account:
        """What it did so far."""


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
    """
    pairs = [
        (
            evidence.of(question.source_layer, question.source_feature),
            evidence.of(question.target_layer, question.target_feature),
        )
        for question in questions
    ]
    estimate = judge.estimate(pairs)
    if estimate.calls:
        console.print(f"  {judge.name}: {estimate}", highlight=False, soft_wrap=True)
    with counting(bars, f"asking {judge.name}") as advance:
        verdicts = judge.judge(pairs, advance)
    if isinstance(judge, Accounted):
        console.print(f"  {judge.name}: {_spent(judge.account)}", highlight=False, soft_wrap=True)
    return [
        Answer(question, *pair, verdict) for question, pair, verdict in zip(questions, pairs, verdicts, strict=True)
    ]


def _spent(account: Account) -> str:
    price = "at a price that is not known" if account.cost is None else f"${account.cost:.4f}"
    tokens = f"{account.tokens_in:,} tokens in and {account.tokens_out:,} out"
    return f"{account.calls:,} calls tried, {account.cached:,} answered before; {tokens}, {price}"


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


class JudgeReport:
    """Prints what is planned before it starts; writes, logs and prints what was said.

    Args:
        console: Where plan and tables go.
        folder: Run folder.
        layers: That paths lead over.
        study: What is asked about.
        evidence: What judges are shown, in words.
        page: That shows the judgements as well.
    """

    def __init__(
        self,
        console: Console,
        folder: Path,
        layers: Sequence[int],
        study: StudySettings,
        evidence: str,
        page: JudgedPage | None = None,
    ) -> None:
        self.console, self.folder, self.layers, self.study, self.page = console, folder, layers, study, page
        self.evidence = evidence

    def print_plan(self, source: str, starts: Sequence[int], matcher: MatcherSettings, judges: Sequence[str]) -> None:
        """All that is known before anything is matched or read.

        Args:
            source: Of the SAEs.
            starts: Layers from which descendants are followed.
            matcher: How features are matched.
            judges: Who is asked.
        """
        followed = ", ".join(map(str, starts)) or "none"
        rows = {
            "SAEs": source,
            "layers": f"{self.layers[0]} to {self.layers[-1]}; descendants from {followed}",
            "matcher": matcher_line(matcher),
            "evidence": self.evidence,
            "judge": ", then ".join(judges),
        }
        print_rows(self.console, "Plan", rows)

    def print_questions(self, paths: Sequence[asking.Path], questions: Sequence[Question], eligible: Eligible) -> None:
        """What is going to be asked, which follows from the matchings and from what there is evidence for."""
        arms = {arm: sum(question.arm == arm for question in questions) for arm in _arms(questions)}
        drawn = f"features of layer {self.layers[0]}, drawn uniformly without replacement, seed {self.study.seed}"
        first = int(eligible[self.layers[0]].sum())
        rows = {
            "paths": f"{len(paths)} from {'live' if self.study.live else 'any'} {drawn}; {first:,} could be drawn",
            "in all": f"{len(questions):,}: {', '.join(f'{count:,} {arm}' for arm, count in arms.items())}",
        }
        print_rows(self.console, "Questions", rows)

    def finish(self, said: Mapping[str, Sequence[Answer]], logger: Logger | None) -> None:
        """Write and log what each judge said, by name, the first one's in pictures; print the tables."""
        answers, *others = said.values()
        agreed = agreements(said)
        tables = _tables(said, agreed)
        self._write(said, tables)
        drawn = list(pictures(answers))
        for picture in drawn:
            picture.save(self.folder / "figures")
        scores = summary(answers)
        for number, several in enumerate(others):
            scores |= {f"judge_{number + 2}/{name}": value for name, value in summary(several).items()}
        log_judgements(logger, scores, tables, drawn, self.folder / "figures")
        self._print(said, agreed)
        for name, several in said.items():
            if not any(answer.verdict.labels for answer in several):
                log.warning("%s has given no label at all; judgements.csv says of each pair why", name)
        if self.page is not None:
            paths = f"{len({answer.question.path for answer in answers}):,} paths"
            asked_about = f"{paths} over layers {self.layers[0]} to {self.layers[-1]}, {len(answers):,} pairs"
            self.page.show(said, {"asked about": asked_about, "shown": self.evidence})
        self._print_files(tables, logger)

    def _write(self, said: Mapping[str, Sequence[Answer]], tables: Mapping[str, Rows]) -> None:
        Results(list(_of_each(results_of, said))).save(self.folder / "results.csv")
        save_spans(_of_each(spans_of, said), self.folder / "spans.csv")
        for name, rows in tables.items():
            write_rows(rows, self.folder / f"{name}.csv")

    def _print_files(self, tables: Mapping[str, Rows], logger: Logger | None) -> None:
        files = ", ".join(["results.csv", "spans.csv", *(f"{name}.csv" for name in tables), "figures/*", ".hydra/"])
        lines = [f"\n[bold]Files[/bold] in {self.folder}", f"  {files}"]
        if self.page is not None:
            lines.append(f"  {self.page.file} shows what was said")
        if (where := where_to_look(logger)) is not None:
            lines.append(f"  W&B: {where}")
        for line in lines:
            self.console.print(line, highlight=False, soft_wrap=True)

    def _print(self, said: Mapping[str, Sequence[Answer]], kappas: Mapping[str, Kappa]) -> None:
        over = "with 95 % intervals over"
        for judge, answers in said.items():
            self._print_table(f"What {judge} says of neighbouring layers, {over} paths", score_table(answers))
            if any(len(set(answer.verdict.labels)) > 1 for answer in answers):
                self.console.print(
                    "A pair's score is the mean of its two orders, and it counts under that rounded down.",
                    highlight=False,
                )
        (judge, answers), *others = said.items()
        if others:
            self.console.print(f"\nThe following tables, and the figures, are of {judge}.", highlight=False)
        self._print_table(
            "Matched neighbours by cost, ranked within each pair of layers; cheapest first", cost_table(answers)
        )
        for table in distance_tables(answers):
            self._print_table(f"Mean score of descendants, {over} paths", table)
        if kappas:
            self._print_table(f"Agreement, {over} paths", kappa_table(kappas))

    def _print_table(self, title: str, table: Table) -> None:
        if not table.row_count:
            return
        self.console.print(f"\n{title}", style="italic", highlight=False)
        self.console.print(table)


def _of_each(
    rows_of_one: Callable[[Sequence[Answer], str], Iterable[Row]], said: Mapping[str, Sequence[Answer]]
) -> Iterator[Row]:
    for judge, answers in said.items():
        yield from rows_of_one(answers, judge)


def _tables(said: Mapping[str, Sequence[Answer]], agreed: Mapping[str, Kappa]) -> dict[str, Rows]:
    """Every judge's answers, and how far they agree where there is anything to compare, by name."""
    names = ["judgements", *(f"judgements_{number}" for number in range(2, len(said) + 1))]
    tables: dict[str, Rows] = {name: rows_of(answers) for name, answers in zip(names, said.values(), strict=True)}
    return {**tables, "agreement": agreement_rows(agreed)} if agreed else tables


def _arms(questions: Sequence[Question]) -> list[str]:
    return list(dict.fromkeys(question.arm for question in questions))
