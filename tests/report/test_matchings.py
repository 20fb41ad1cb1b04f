import csv
import io
import math

import pytest
import torch
from rich.console import Console

from sae_match import Matching, match, significance
from sae_match.matching.composition import Agreement
from sae_match.report.matchings import (
    CompositionRow,
    MatchingRow,
    agreement_table,
    matching_table,
    save_rows,
    significance_table,
)


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
    assert ",".join(header) == f"{expected},seconds,peak_memory,significant,storey,cut"
    assert first[-3:] == ["", "", ""]
    assert float(first[header.index("cost")]) == found.cost
    table = printed(matching_table([row]))
    assert "3 → 4" in table
    assert max(map(len, table.splitlines())) <= 80


def test_a_matching_without_pairs_or_evidence_has_dashes():
    nothing = Matching(torch.tensor([-1, -1]), torch.full((2,), math.nan, dtype=torch.float64))
    row = MatchingRow.of((0, 1), nothing)
    assert (row.pairs, row.mean_pair_cost, row.rounds, row.seconds) == (0, None, None, None)
    assert " - " in printed(matching_table([row]))


def test_a_row_says_what_share_is_truly_matched(make_sae):
    source, target = make_sae(0, d_sae=40), make_sae(1, d_sae=40)
    same, other = (significance(source, each, match(source, each), rotations=2) for each in (source, target))
    rows = [MatchingRow.of((1, 2), same.matching, same), MatchingRow.of((2, 3), other.matching, other)]
    assert (rows[0].significant, rows[0].storey, rows[0].cut) == (1, 1, same.cut(0.05))
    assert (rows[1].significant, rows[1].cut) == (0, None)
    lines = printed(significance_table([*rows, MatchingRow.of((3, 4), same.matching)])).splitlines()
    assert [line.split()[:5] for line in lines[-2:]] == [
        ["1", "→", "2", "40", "1.000"],
        ["2", "→", "3", "40", "0.000"],
    ]


def test_agreement_is_shown_by_distance():
    found = {(0, 1): (1.0, 1.0), (1, 2): (1.0, 1.0), (0, 2): (0.25, 1.5), (1, 3): (0.75, 2.0)}
    rows = [CompositionRow.of(pair, Agreement(*numbers, 8)) for pair, numbers in found.items()]
    rows.append(CompositionRow.of((2, 4), Agreement(math.nan, math.nan, 0)))
    lines = printed(agreement_table(rows)).splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["1", "2", "16", "1.000", "1.000", "1.000"],
        ["2", "2", "16", "0.500", "0.250", "1.750"],
    ]
