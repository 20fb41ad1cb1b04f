import csv
import math
import os
from functools import partial

import pytest
import torch

from sae_match.benchmark.measuring import (
    Figure,
    chosen,
    float32_pass_seconds,
    in_own_process,
    peak_gigabytes,
    write_csv,
    write_markdown,
)
from sae_match.errors import UserError


def in_this_process(parent):
    return [Figure("here", "another process", float(os.getpid() != parent), "", 1, at_least=True)]


def variables_there(wanted):
    there = {name: os.environ.get(name) for name in wanted} == wanted
    return [Figure("here", "variables", float(there), "", 1, at_least=True)]


def dies():
    os._exit(3)


@pytest.mark.parametrize(
    ("value", "reach", "at_least", "reached"),
    [(1.0, 2.0, False, True), (3.0, 2.0, False, False), (3.0, 2.0, True, True), (1.0, math.nan, False, None)],
)
def test_a_figure_knows_whether_it_is_as_good_as_it_should_be(value, reach, at_least, reached):
    assert Figure("case", "what", value, "s", reach, at_least).reached is reached


def test_a_case_runs_in_a_process_of_its_own():
    (figure,) = in_own_process(partial(in_this_process, os.getpid()))
    assert figure.reached


def test_a_process_is_started_with_variables_of_its_own(monkeypatch):
    monkeypatch.setenv("SAE_MATCH_KEPT", "before")
    wanted = {"SAE_MATCH_KEPT": "1", "SAE_MATCH_NEW": "2"}
    (figure,) = in_own_process(partial(variables_there, wanted), wanted)
    assert figure.reached
    assert os.environ["SAE_MATCH_KEPT"] == "before"
    assert "SAE_MATCH_NEW" not in os.environ


def test_a_case_that_dies_is_named():
    with pytest.raises(UserError, match="ended with exit code 3"):
        in_own_process(dies)


def test_an_unknown_case_is_refused_with_what_there_is():
    with pytest.raises(UserError, match="no case 'c'; there are a, b"):
        chosen({"a": dies, "b": dies}, {}, ["a", "c"])
    assert list(chosen({"a": dies, "b": dies}, {}, [])) == ["a", "b"]


def test_the_time_of_a_pass_grows_with_the_pairs():
    device = torch.device("cpu")
    seconds = [float32_pass_seconds(size, size, 65, device) for size in (256, 8192)]
    assert 0 < seconds[0] < seconds[1]


def test_peak_memory_holds_what_was_allocated():
    block = torch.ones(2**27)
    assert peak_gigabytes() >= block.numel() * 4 / 2**30


def test_figures_are_written_as_csv_and_as_markdown(tmp_path):
    figures = [Figure("16k", "gap", 1e-7, "", 1e-6), Figure("16k", "time", 3.0, "s", 2.0)]
    write_csv(figures, tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["what"], row["reached"]) for row in rows] == [("gap", "True"), ("time", "False")]
    write_markdown(figures, tmp_path / "f.md")
    text = (tmp_path / "f.md").read_text()
    assert "≤ 1e-06" in text
    assert "≤ 2 s (missed)" in text
