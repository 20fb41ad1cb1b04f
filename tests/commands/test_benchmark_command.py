import csv
import os

import pytest

from sae_match.benchmark.measuring import Figure
from sae_match.commands import benchmark
from sae_match.errors import UserError
from sae_match.settings.tools import BenchmarkSettings


def dies():
    os._exit(3)


def measures():
    return [Figure("a case", "a figure", 2.0, "s")]


def test_a_case_that_fails_takes_no_other_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark.matching, "cases", lambda _seed: {"bad": dies, "good": measures})
    with pytest.raises(UserError, match="of the cases, bad failed; the others' figures are in"):
        benchmark.main(BenchmarkSettings(output_dir=str(tmp_path), cases=["bad", "good"]))
    with (tmp_path / "benchmark.csv").open(newline="") as stream:
        assert [row["what"] for row in csv.DictReader(stream)] == ["a figure"]
    assert "bad failed: the process that measured" in capsys.readouterr().out
