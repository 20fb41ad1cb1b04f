import csv
import math

import numpy as np
import pytest

from sae_match.errors import UserError
from sae_match.report.comparison.comparison import chosen, markdown, over, save_tables
from sae_match.report.comparison.joining import join
from sae_match.report.comparison.seeds import over_seeds
from sae_match.report.runs import find_runs
from tests.report.run_folders import changed, run_folder

# Student's t of two degrees of freedom, 97.5 %, as tables of it print it.
T_2 = 4.302653


def joined(folder, values, matcher="folded", start=0):
    """Runs over SAEs of as many seeds, whose means of `matched` are more by these values."""
    for number, value in enumerate(values, start):
        run = run_folder(folder / str(number), matcher, sae__source=f"saes_{number - start}")
        changed(run, "matched", value)
    (found,) = join(find_runs([folder])[0])
    return found


def of_matched(means):
    return [
        one
        for one in means
        if (one.mean.arm, one.mean.metric, one.mean.dataset, one.mean.span) == ("matched", "delta_loss", "prose", 1)
    ]


def test_a_mean_over_seeds_has_the_interval_of_students_t(tmp_path):
    values = [0.0, 0.3, 0.1]
    means, notes = over_seeds(joined(tmp_path, values), ["sae.source"])
    (one,) = of_matched(means)
    half = T_2 * np.std(values, ddof=1) / math.sqrt(3)
    mean = 0.25 + np.mean(values)
    assert (one.runs, one.settings, notes) == (3, {}, [])
    assert one.mean.value == pytest.approx(mean)
    assert one.deviation == pytest.approx(np.std(values, ddof=1))
    assert (one.mean.low, one.mean.high) == pytest.approx((mean - half, mean + half), rel=1e-4)


@pytest.mark.parametrize("values", [[0.1], [0.0, 0.2]])
def test_of_one_or_two_seeds_there_is_no_interval_and_it_is_said(tmp_path, values):
    folded = [0.0, 0.1, 0.2]
    joined(tmp_path, folded)
    means, notes = over_seeds(joined(tmp_path, values, "unfolded", start=3), ["sae.source"])
    first, second = of_matched(means)
    assert first.mean.low is not None
    assert (second.runs, second.mean.low, second.mean.high) == (len(values), None, None)
    assert second.about == "matcher=unfolded"
    runs = f"{len(values)} run{'s' * (len(values) > 1)}"
    assert notes == [
        f"matcher=unfolded: {runs} over sae.source: too few for an interval over seeds, which takes at least 3"
    ]


def test_a_setting_in_which_runs_do_not_differ_is_refused_with_those_in_which_they_do(tmp_path):
    with pytest.raises(UserError, match=r"^over: the runs do not differ in 'text\.seed'; they differ in sae\.source$"):
        over_seeds(joined(tmp_path, [0.0, 0.1]), ["text.seed"])


def test_without_a_setting_there_are_no_means_over_it(tmp_path):
    assert over_seeds(joined(tmp_path, [0.0, 0.1]), []) == ([], [])


def test_means_over_seeds_stand_in_tables(tmp_path):
    comparison = over(chosen(joined(tmp_path / "runs", [0.0, 0.3, 0.1]), [], ["delta_loss"]), ["sae"])
    lines = markdown(comparison).splitlines()
    assert "## prose, neighbours: means and 95 % intervals over seeds" in lines
    assert "| 3 |  | matched | 0.383 (0.004…0.763) |" in lines
    save_tables(comparison, tmp_path / "out")
    with (tmp_path / "out" / "comparison_over_seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == "seeds,span,arm,dataset,metric,value,low,high,deviation"
    assert len(rows) == len(comparison.over_seeds)
