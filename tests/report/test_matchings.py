import csv
import io
import logging
import math
import sys

import lightning as L
import pytest
import torch
from rich.console import Console

from sae_match import Matching, match
from sae_match.matching.composition import Agreement
from sae_match.matching.solving import Status
from sae_match.report import matching_progress
from sae_match.report.matching_progress import MatchingProgress
from sae_match.report.matchings import CompositionRow, MatchingRow, agreement_table, matching_table, save_rows
from sae_match.report.progress import MatchingBar


def printed(renderable):
    console = Console(file=io.StringIO(), width=80)
    console.print(renderable)
    return console.file.getvalue()


def test_a_row_says_what_is_known_of_a_matching(make_sae, tmp_path):
    found = match(make_sae(0), make_sae(1, d_sae=7))
    row = MatchingRow.of((3, 4), found)
    assert (row.source_layer, row.target_layer, row.features, row.pairs) == (3, 4, 10, 7)
    assert row.mean_pair_cost == pytest.approx(found.cost / 7)
    assert (row.rounds, row.pairs_priced) == (found.evidence.rounds, found.evidence.pairs_priced)
    save_rows([row, row], tmp_path / "matchings.csv")
    with (tmp_path / "matchings.csv").open(newline="") as file:
        header, first, _ = csv.reader(file)
    expected = "source_layer,target_layer,features,pairs,cost,lower_bound,gap,mean_pair_cost,solver,rounds,pairs_priced"
    assert ",".join(header) == f"{expected},seconds,peak_memory"
    assert float(first[header.index("cost")]) == found.cost
    table = printed(matching_table([row]))
    assert "3 → 4" in table
    assert max(map(len, table.splitlines())) <= 80


def test_a_matching_without_pairs_or_evidence_has_dashes():
    nothing = Matching(torch.tensor([-1, -1]), torch.full((2,), math.nan, dtype=torch.float64))
    row = MatchingRow.of((0, 1), nothing)
    assert (row.pairs, row.mean_pair_cost, row.rounds, row.seconds) == (0, None, None, None)
    assert " - " in printed(matching_table([row]))


def test_agreement_is_shown_by_distance():
    found = {(0, 1): (1.0, 1.0), (1, 2): (1.0, 1.0), (0, 2): (0.25, 1.5), (1, 3): (0.75, 2.0)}
    rows = [CompositionRow.of(pair, Agreement(*numbers, 8)) for pair, numbers in found.items()]
    rows.append(CompositionRow.of((2, 4), Agreement(math.nan, math.nan, 0)))
    lines = printed(agreement_table(rows)).splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["1", "2", "16", "1.000", "1.000", "1.000"],
        ["2", "2", "16", "0.500", "0.250", "1.750"],
    ]


def test_a_terminal_shows_pairs_round_and_gap():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    progress = MatchingProgress(console, pairs=3)
    with progress.shown():
        progress.done()
        progress.watch((1, 2), Status(2, 0.43, 1.2e-4))
        progress.progress.refresh()
    shown = console.file.getvalue()
    for part in ("layers 1 → 2", "(1 of 3 pairs done)", "round 2, 43%", "gap 1e-04"):
        assert part in shown


def test_log_lines_go_above_the_bar_and_back_to_where_they_went():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    handler = logging.StreamHandler(sys.__stdout__)
    logging.getLogger().addHandler(handler)
    try:
        with MatchingProgress(console).shown():
            assert handler.stream is sys.stdout
        assert handler.stream is sys.__stdout__
    finally:
        logging.getLogger().removeHandler(handler)


def test_without_a_terminal_a_long_solution_is_logged_now_and_then(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(matching_progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO())
    progress = MatchingProgress(console, pairs=2)
    with caplog.at_level(logging.INFO), progress.shown():
        for seconds in (0, 10, 20, 31, 40, 62):
            now[0] = float(seconds)
            progress.watch((0, 1), Status(2, seconds / 100, math.inf))
    assert caplog.messages == [
        "layers 0 and 1 (0 of 2 pairs done): round 2, 31%",
        "layers 0 and 1 (0 of 2 pairs done): round 2, 62%",
    ]
    assert console.file.getvalue() == ""


def test_a_validation_shows_the_bar_until_it_starts_or_fails():
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = L.LightningModule()
    for end in (
        lambda bar: bar.on_validation_start(trainer, module),
        lambda bar: bar.on_exception(trainer, module, ValueError()),
    ):
        progress = MatchingProgress(Console(file=io.StringIO(), force_terminal=True))
        bar = MatchingBar(progress)
        bar.setup(trainer, module, "validate")
        assert progress.progress.live.is_started
        end(bar)
        assert not progress.progress.live.is_started
