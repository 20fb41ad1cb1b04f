import logging

import pytest
import torch

from sae_match import match, significance
from sae_match.benchmark.planted_chain import Plan, planted_chain
from sae_match.matching.baselines import rotated
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import judge_layers
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance import settings
from sae_match.matching.significance.alternatives import alternatives
from sae_match.matching.significance.judging import judge

SETTINGS = MatcherSettings()


def judged(source, target, folder, rotations=2, watch=lambda _: None):
    cache = MatchingCache(folder)
    return judge(source, target, match(source, target), rotations, settings=SETTINGS, cache=cache, watch=watch)


def test_it_is_significance_and_what_stands_beside_it(make_sae, tmp_path):
    source, target = make_sae(0, d_sae=40), make_sae(1, d_sae=40)
    found, matching = judged(source, target, tmp_path), match(source, target)
    for name in ("statistic", "p", "q"):
        assert torch.equal(
            getattr(found.significance, name), getattr(significance(source, target, matching, rotations=2), name)
        )
    assert torch.equal(found.beside.margin, alternatives(source, target, matching).margin)


def test_the_second_time_nothing_is_solved(make_sae, tmp_path):
    source, target = make_sae(0, d_sae=40), make_sae(1, d_sae=40)
    told = []
    first = judged(source, target, tmp_path, watch=told.append)
    solved = {status.against for status in told}
    assert solved == {"random target 1 of 2", "random target 2 of 2", "encoders alone", "decoders alone"}
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    told.clear()
    again = judged(source, target, tmp_path, watch=told.append)
    assert (told, sorted(tmp_path.iterdir())) == ([], files)
    assert torch.equal(first.significance.q, again.significance.q)


def test_wide_dictionaries_are_judged_by_a_sample_of_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "WIDE", 100)
    monkeypatch.setattr(settings, "SAMPLED_ROWS", 48)
    source, target = (layer.sae for layer in planted_chain(Plan(0.5), 32, 128))
    found = judged(source, target, tmp_path)
    assert (found.significance.evidence.rows, found.significance.evidence.draws) == (48, 96)
    monkeypatch.setattr(settings, "WIDE", 128)
    assert judged(source, target, tmp_path).significance.evidence.rows is None


def test_identical_saes_are_all_matches_and_a_rotated_one_has_none(make_sae, tmp_path):
    sae = make_sae(0, d_sae=60, d_in=8)
    assert judged(sae, sae, tmp_path).significance.share == 1
    assert judged(sae, rotated(sae, 3), tmp_path).significance.share <= 0.05


def of_layers(source, target, folder, rotations=2):
    matching = match(source, target)
    return judge_layers((3, 4), source, target, matching, rotations, SETTINGS, cache=MatchingCache(folder))


def test_fewer_features_than_dimensions_are_judged_all_the_same(make_sae, tmp_path):
    # The second moment is singular: what the features span is turned, and nothing else.
    found = of_layers(make_sae(0, d_sae=12, d_in=30), make_sae(1, d_sae=12, d_in=30), tmp_path)
    assert found is not None
    assert bool(found.significance.p.isfinite().all())


@pytest.mark.parametrize("live", [0, 1])
def test_where_nothing_can_be_told_one_line_says_why_and_the_matching_stands(make_sae, tmp_path, caplog, live):
    source, target = make_sae(0), make_sae(1)
    target.W_dec[live:] = 0
    assert of_layers(source, target, tmp_path) is None
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("layers 3 and 4: which pairs are matches cannot be told: of 10")
    assert "\n" not in record.getMessage()


def test_without_random_targets_nothing_is_judged(make_sae, tmp_path):
    assert of_layers(make_sae(0), make_sae(1), tmp_path / "cache", rotations=0) is None
    assert not (tmp_path / "cache").exists()
