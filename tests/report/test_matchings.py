import csv
import io
import math
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from sae_match import Matching, match
from sae_match.benchmark.planted_chain import Plan, planted_chain
from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import Agreement
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.judging import judge
from sae_match.report.matchings import (
    CompositionRow,
    MatchingRow,
    agreement_table,
    distance_table,
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
    shares = (
        "significant,significant_low,significant_high,storey,storey_low,storey_high,cut,median_cosine,mutual_nearest"
    )
    beside = "encoder_agreement,decoder_agreement,terms_agreement"
    assert ",".join(header) == f"{expected},seconds,peak_memory,{shares},{beside}"
    assert first[-12:] == [""] * 12
    assert float(first[header.index("cost")]) == found.cost
    table = printed(matching_table([row]))
    assert "3 → 4" in table
    assert max(map(len, table.splitlines())) <= 80


def test_a_matching_without_pairs_or_evidence_has_dashes():
    nothing = Matching(torch.tensor([-1, -1]), torch.full((2,), math.nan, dtype=torch.float64))
    row = MatchingRow.of((0, 1), nothing)
    assert (row.pairs, row.mean_pair_cost, row.rounds, row.seconds) == (0, None, None, None)
    assert " - " in printed(matching_table([row]))


def test_a_row_says_what_share_is_truly_matched(make_sae, tmp_path):
    source, target = make_sae(0, d_sae=40), make_sae(1, d_sae=40)
    cache = MatchingCache(tmp_path)
    same, other = (
        judge(source, each, match(source, each), 2, settings=MatcherSettings(), cache=cache)
        for each in (source, target)
    )
    matchings = [each.significance.matching for each in (same, other)]
    rows = [MatchingRow.of((1, 2), matchings[0], same), MatchingRow.of((2, 3), matchings[1], other)]
    assert (rows[0].significant, rows[0].storey, rows[0].cut) == (1, 1, same.significance.cut(0.05))
    assert (rows[1].significant, rows[1].cut) == (0, None)
    # Every feature is like the others here: none would change the shares.
    assert (rows[0].significant_low, rows[0].significant_high) == (None, None)
    assert rows[1].storey_low < rows[1].storey_high
    assert rows[0].median_cosine == pytest.approx(1)
    assert (rows[0].mutual_nearest, rows[0].terms_agreement) == (1, 1)
    assert rows[1].terms_agreement == pytest.approx(float(other.beside.all_agree.double().mean()))
    lines = printed(significance_table([*rows, MatchingRow.of((3, 4), matchings[0])])).splitlines()
    assert [line.split()[:5] for line in lines[-2:]] == [
        ["1", "→", "2", "1.000", "1.000"],
        ["2", "→", "3", "0.000", lines[-1].split()[4]],
    ]
    assert max(map(len, lines)) <= 80


def test_a_level_of_ones_own_decides_which_pairs_count(tmp_path):
    source, target = (layer.sae for layer in planted_chain(Plan(0.5), 32, 128))
    found = judge(source, target, match(source, target), 2, settings=MatcherSettings(), cache=MatchingCache(tmp_path))
    shares = [MatchingRow.of((0, 1), found.significance.matching, found, level).significant for level in (0.01, 0.5)]
    assert shares == [found.significance.share_at(0.01), found.significance.share_at(0.5)]
    assert shares[0] < shares[1]


def test_shares_are_shown_by_distance_beside_those_of_chains():
    nothing = Matching(torch.tensor([0]), torch.zeros(1, dtype=torch.float64))
    shares = {(0, 1): 0.75, (1, 2): 0.25, (0, 2): 0.125}
    rows = [replace(MatchingRow.of(pair, nothing), significant=share, storey=0.5) for pair, share in shares.items()]
    chain = CompositionRow.of((0, 2), Agreement(1.0, 1.0, 1), 0.0625)
    lines = printed(distance_table(rows, [chain])).splitlines()
    assert [line.split() for line in lines[-2:]] == [["1", "0.500", "0.500", "-"], ["2", "0.125", "0.500", "0.062"]]


def test_agreement_is_shown_by_distance():
    found = {(0, 1): (1.0, 1.0), (1, 2): (1.0, 1.0), (0, 2): (0.25, 1.5), (1, 3): (0.75, 2.0)}
    rows = [CompositionRow.of(pair, Agreement(*numbers, 8)) for pair, numbers in found.items()]
    rows.append(CompositionRow.of((2, 4), Agreement(math.nan, math.nan, 0)))
    assert rows[2].agreement_low < 0.25 < rows[2].agreement_high
    # Every feature agrees, or there is none.
    assert {(row.agreement_low, row.agreement_high) for row in (rows[0], rows[4])} == {(None, None)}
    lines = printed(agreement_table(rows)).splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["1", "2", "16", "1.000", "1.000", "1.000"],
        ["2", "2", "16", "0.500", "0.250", "1.750"],
    ]
