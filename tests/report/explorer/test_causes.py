"""What the page says of features that were switched off."""

import dataclasses
import json
import math

import torch

from sae_match.report.explorer.data import StepCauses
from sae_match.report.explorer.writing import write_explorer
from tests.report.explorer.made_up import WIDTHS, explorer_data, received, step_data, unpacked
from tests.report.explorer.reader import data_of, open_feature, show, table, watched


def with_causes():
    """Of the first step features 1 and 2 were switched off: one's partner falls most of all, one's does not."""
    carried = torch.full((WIDTHS[0],), math.nan, dtype=torch.float64)
    carried[1], carried[2] = 0.75, 0.125
    rank = torch.tensor([0, 1, 7, 0, 0, 0])
    agreement = torch.full_like(carried, math.nan)
    agreement[1] = 0.5
    first = dataclasses.replace(step_data(0, 1), causes=StepCauses(carried, rank, agreement))
    return explorer_data(steps=[first, step_data(1, 2), step_data(2, 4)])


def test_details_say_what_partners_did(tmp_path):
    write_explorer(with_causes(), tmp_path)
    assert received(data_of(tmp_path) / "index.js")["causes"] is True
    details = json.loads(unpacked(data_of(tmp_path) / "paths-0.js"))
    told = [one[7] for path in details for one in path if one[7] is not None and any(one[7])]
    assert sorted(told, key=str) == [[0.125, 7, None], [0.75, 1, 0.5]]


def test_a_step_says_whether_switching_it_off_switches_off_the_next(browser, tmp_path):
    page = write_explorer(with_causes(), tmp_path)
    with watched(browser) as tab:
        show(tab, page)
        for name, said in (
            ("0/1", "75 %, falls most of all; effects agree 0.500"),
            ("0/2", "12.5 %, falls as number 7"),
        ):
            open_feature(tab, name)
            assert table(tab, "path-table")[1][-1] == said
