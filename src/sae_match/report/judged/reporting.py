"""What a study of meanings prints and leaves behind."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sae_match.files import write_rows
from sae_match.matching.settings import MatcherSettings
from sae_match.report.attempts import Attempts
from sae_match.report.console import matcher_line, print_rows
from sae_match.report.judged.judgements import (
    cost_table,
    distance_tables,
    kappa_table,
    q_table,
    rows_of,
    score_table,
    summary,
)
from sae_match.report.judged.kappas import kappa_rows, kappas
from sae_match.report.judged.page import JudgedPage
from sae_match.report.judged.pictures import judgement_drawings
from sae_match.report.judged.results import save_results
from sae_match.report.picture import save_pictures
from sae_match.report.tracking.logger import Logger, where_to_look
from sae_match.report.tracking.records import Rows, log_study
from sae_match.saes.two import layer_of
from sae_match.semantics.answers import Answer
from sae_match.semantics.questions import Eligible, FeaturePath, Question
from sae_match.semantics.scores import Kappa
from sae_match.semantics.settings import StudySettings
from sae_match.terminal import say

log = logging.getLogger(__name__)


class JudgeReport:
    """Prints what is planned before it starts; writes, logs and prints what was said.

    Args:
        console: Where plan and tables go.
        folder: Run folder.
        layers: That paths lead over; of two collections, those that pairs start from.
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
        if self.study.rotations:
            more = f"; {self.study.of_each_class} more pairs of each class" if self.study.of_each_class else ""
            rows["matches"] = f"at {self.study.alpha:.0%}, by {self.study.rotations} random targets a pair{more}"
        print_rows(self.console, "Plan", rows)

    def print_questions(
        self, paths: Sequence[FeaturePath], questions: Sequence[Question], eligible: Eligible, first: Sequence[int] = ()
    ) -> None:
        """What is going to be asked, which follows from the matchings and from what there is evidence for.

        Args:
            paths: Over the layers.
            questions: About them.
            eligible: Features that may be asked about.
            first: What the features that paths begin with are kept by; the first layer if nothing else is said.
        """
        arms = {arm: sum(question.arm == arm for question in questions) for arm in _arms(questions)}
        begun = list(first or self.layers[:1])
        where = ", ".join(str(layer_of(one)) for one in begun)
        drawn = f"features of layer {where}, drawn uniformly without replacement, seed {self.study.seed}"
        there = sum(int(eligible[one].sum()) for one in begun)
        rows = {
            "paths": f"{len(paths)} from {'live' if self.study.live else 'any'} {drawn}; {there:,} could be drawn",
            "in all": f"{len(questions):,}: {', '.join(f'{count:,} {arm}' for arm, count in arms.items())}",
        }
        print_rows(self.console, "Questions", rows)

    def finish(self, said: Mapping[str, Sequence[Answer]], logger: Logger | None) -> None:
        """Write and log what each judge said, by name, the first one's in pictures; print the tables."""
        answers, *others = said.values()
        agreement = kappas(said)
        tables, attempts = _tables(said, agreement), Attempts()
        self._write(said, tables, attempts)
        self._print(said, agreement)
        drawn = save_pictures(judgement_drawings(answers), self.folder / "figures", attempts)
        scores = summary(answers)
        for number, several in enumerate(others):
            scores |= {f"judge_{number + 2}/{name}": value for name, value in summary(several).items()}
        with attempts.of("logging"):
            log_study(logger, scores, tables, drawn, self.folder / "figures")
        for name, several in said.items():
            if not any(answer.verdict.labels for answer in several):
                log.warning("%s has given no label at all; judgements.csv says of each pair why", name)
        if self.page is not None:
            paths = f"{len({answer.question.path for answer in answers}):,} paths"
            asked_about = f"{paths} over layers {self.layers[0]} to {self.layers[-1]}, {len(answers):,} pairs"
            with attempts.of(f"judgements on {self.page.file}"):
                self.page.show(said, {"asked about": asked_about, "shown": self.evidence})
        self._print_files(tables, logger)
        attempts.refuse_failed(self.folder)

    def _write(self, said: Mapping[str, Sequence[Answer]], tables: Mapping[str, Rows], attempts: Attempts) -> None:
        # What was said first: it has been paid for.
        for name, rows in tables.items():
            with attempts.of(f"{name}.csv"):
                write_rows(self.folder / f"{name}.csv", rows)
        with attempts.of("results.csv and spans.csv"):
            save_results(said, self.folder)

    def _print_files(self, tables: Mapping[str, Rows], logger: Logger | None) -> None:
        files = ", ".join(["results.csv", "spans.csv", *(f"{name}.csv" for name in tables), "figures/*", ".hydra/"])
        say(self.console, ("\nFiles", "bold"), f" in {self.folder}")
        lines = [f"  {files}"]
        if self.page is not None:
            lines.append(f"  {self.page.file} shows what was said")
        if (where := where_to_look(logger)) is not None:
            lines.append(f"  W&B: {where}")
        for line in lines:
            say(self.console, line)

    def _print(self, said: Mapping[str, Sequence[Answer]], agreement: Mapping[str, Kappa]) -> None:
        over = "with 95 % intervals over"
        for judge, answers in said.items():
            of = "two collections" if answers and answers[0].question.names else "neighbouring layers"
            self._print_table(f"What {judge} says of {of}, {over} paths", score_table(answers))
            if any(len(set(answer.verdict.labels)) > 1 for answer in answers):
                self.console.print(
                    "A pair's score is the mean of its two orders, and it counts under that rounded down.",
                    highlight=False,
                )
        (judge, answers), *others = said.items()
        if others:
            say(self.console, f"\nThe following tables, and the figures, are of {judge}.")
        self._print_table(
            "Matched neighbours by cost, ranked within each pair of layers; cheapest first", cost_table(answers)
        )
        self._print_table("Matched neighbours by q, ranked likewise; most significant first", q_table(answers))
        for table in distance_tables(answers):
            self._print_table(f"Mean score of descendants, {over} paths", table)
        if agreement:
            self._print_table(f"Agreement, {over} paths", kappa_table(agreement))

    def _print_table(self, title: str, table: Table) -> None:
        if not table.row_count:
            return
        say(self.console, (f"\n{title}", "italic"))
        self.console.print(table)


def _tables(said: Mapping[str, Sequence[Answer]], agreement: Mapping[str, Kappa]) -> dict[str, Rows]:
    """Every judge's answers, and how far they agree where there is anything to compare, by name."""
    names = ["judgements", *(f"judgements_{number}" for number in range(2, len(said) + 1))]
    tables: dict[str, Rows] = {name: rows_of(answers) for name, answers in zip(names, said.values(), strict=True)}
    return {**tables, "agreement": kappa_rows(agreement)} if agreement else tables


def _arms(questions: Sequence[Question]) -> list[str]:
    return list(dict.fromkeys(question.arm for question in questions))
