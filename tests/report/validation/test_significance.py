"""What the terminal says of what is truly matched."""

import io

from rich.console import Console

from sae_match.report.validation.significance import answers, distance_table, layers_table, print_significance
from tests.report.validation.pictures.conftest import module, outcome

__all__ = ["module", "outcome"]


def printed(renderable):
    console = Console(file=io.StringIO(), width=80)
    console.print(renderable)
    return console.file.getvalue().splitlines()


def share_of(outcome, pair):
    return outcome.findings.judged[pair].significance.share


def test_it_answers_what_fraction_is_matched_and_which(outcome):
    first, which = answers(outcome.findings)
    share = (share_of(outcome, (2, 3)) + share_of(outcome, (3, 4))) / 2
    assert first.startswith(f"{share:.1%} of the features (95 % interval over features ")
    assert "over 2 pairs of neighbours, by 2 random targets each" in first
    assert "column `significance` of pairs/*.parquet" in which


def test_shares_stand_by_pair_of_layers_and_by_distance_in_eighty_columns(outcome):
    lines = printed(layers_table(outcome.findings))
    shares = {(source, target): share_of(outcome, (source, target)) for source, target in outcome.findings.judged}
    assert sorted(line.split()[:4] for line in lines[-3:]) == [
        [str(source), "→", str(target), f"{share:.3f}"] for (source, target), share in sorted(shares.items())
    ]
    by_distance = [line.split() for line in printed(distance_table(outcome.findings))[-2:]]
    assert [line[0] for line in by_distance] == ["1", "2"]
    assert by_distance[0][-1] == "-"
    chain = outcome.findings.chains[2, 4].share
    assert f"{chain:.3f}" in by_distance[1]
    console = Console(file=io.StringIO(), width=80)
    print_significance(console, outcome.findings)
    assert max(map(len, console.file.getvalue().splitlines())) <= 80


def test_nothing_is_said_where_nothing_was_judged():
    console = Console(file=io.StringIO(), width=80)
    print_significance(console, None)
    assert console.file.getvalue() == ""
