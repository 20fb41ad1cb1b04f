import math
from dataclasses import replace

import pytest

from sae_match.benchmark import calibration as benchmark
from sae_match.benchmark.calibration import Kind, Measured, calibration, figures, kinds, measured
from sae_match.benchmark.planted_chain import Plan
from sae_match.errors import UserError

SMALL = [Kind("small", 16, 96, Plan(new)) for new in (0.2, 1.0)]


def test_the_smallest_kinds_are_as_well_calibrated_as_is_claimed():
    smallest = min(kind.d_sae for kind in kinds() if kind.name == "crowded")
    some = [kind for kind in kinds() if kind.name == "crowded" and kind.d_sae == smallest]
    assert [kind.plan.new for kind in some] == [0.0, 0.2, 0.5, 0.8, 1.0]
    rows = [row for kind in (some[2], some[4]) for seed in range(6) for row in measured(kind, seed)]
    found = {(figure.case, figure.what.split(" (")[0]): figure for figure in figures(rows)}
    nothing, half = (f"{kind.title}; second_moment" for kind in (some[4], some[2]))
    assert found[nothing, "nothing matches: share with p <= 0.05"].value == pytest.approx(0.05, abs=0.025)
    assert found[nothing, "nothing matches: share with q <= 0.05"].value <= 0.005
    assert found[half, "of the picked, wrong"].value <= 0.1
    plain = f"{some[4].title}; rotation"
    assert found[plain, "nothing matches: share with p <= 0.05"].value > 0.15


def test_finished_seeds_are_found_again_and_others_are_added(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "kinds", lambda: SMALL)
    first = calibration(1, 3, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["seed_0003.csv"]
    assert "seed 3, 1 of 1" in capsys.readouterr().err
    both = calibration(2, 3, tmp_path)
    assert "seed 4, 2 of 2" in capsys.readouterr().err
    # Texts, since a reach that is not set is nan.
    assert str(calibration(2, 3, tmp_path)) == str(both) != str(first)
    assert capsys.readouterr().err == ""
    assert all("2 seeds" in figure.what for figure in both if not figure.what.startswith("…"))


def test_a_file_that_is_no_seed_is_said_to_be_none(tmp_path):
    (tmp_path / "seed_0000.csv").write_text("kind,null\na,b\n")
    with pytest.raises(UserError, match=r"seed_0000.csv is no seed of the calibration: .* remove it"):
        calibration(1, 0, tmp_path)


def test_figures_are_means_over_seeds_and_the_bad_example_has_no_reach():
    row = Measured("a kind", "second_moment", 0, 0.2, 0.1, 0.5, 0.6, 0.3, 0.25, 0.1, 0.2, 0.3, 0.6)
    rows = [row, replace(row, seed=1, false=0.0), replace(row, null="rotation", false=0.5)]
    found = {(figure.case, figure.what): figure for figure in figures(rows)}
    wrong = next(figure for (case, what), figure in found.items() if "second" in case and "wrong" in what)
    assert wrong.value == pytest.approx(0.05)
    assert wrong.reach == 0.06
    assert f"({0.05 - 1.96 * 0.05:.3g} to {0.05 + 1.96 * 0.05:.3g}, 2 seeds)" in wrong.what
    plain = [figure for (case, _), figure in found.items() if "rotation" in case]
    assert all(math.isnan(figure.reach) for figure in plain)


def test_the_kinds_whose_power_is_aimed_at_are_there():
    assert set(benchmark._OF_THE_PROTOTYPE) <= {kind.title for kind in kinds()}
    assert len({kind.title for kind in kinds()}) == len(kinds())
