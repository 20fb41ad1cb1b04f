import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_match.matching import cache as cache_module
from sae_match.matching.cache import MatchingCache
from sae_match.matching.matching import MatcherSettings, match


@pytest.fixture
def solved(monkeypatch):
    """The calls that were really solved."""
    calls = []

    def counting(source, target, **settings):
        calls.append(settings)
        return match(source, target, **settings)

    monkeypatch.setattr(cache_module, "match", counting)
    return calls


def test_the_same_pair_and_settings_are_solved_once(make_sae, tmp_path, solved):
    first = MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings())
    again = MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings())
    assert torch.equal(first.permutation, again.permutation)
    assert len(solved) == 1


def test_a_changed_sae_order_or_setting_misses_the_cache(make_sae, tmp_path, solved):
    cache, a, b = MatchingCache(tmp_path), make_sae(0), make_sae(1)
    cache.match(a, b, MatcherSettings())
    cache.match(b, a, MatcherSettings())
    cache.match(a, replace(b, b_enc=b.b_enc + 1e-6), MatcherSettings())
    for settings in (
        MatcherSettings(fold="none"),
        MatcherSettings(metric="cosine"),
        MatcherSettings(terms={"W_enc": 1.0}),
    ):
        cache.match(a, b, settings)
    assert len(solved) == 6


def test_a_damaged_file_is_solved_again_and_said_aloud(make_sae, tmp_path, solved, caplog):
    cache = MatchingCache(tmp_path)
    first = cache.match(make_sae(0), make_sae(1), MatcherSettings())
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        again = cache.match(make_sae(0), make_sae(1), MatcherSettings())
    assert len(solved) == 2
    assert "not a sound matching file" in caplog.text
    assert torch.equal(first.permutation, again.permutation)
    cache.match(make_sae(0), make_sae(1), MatcherSettings())
    assert len(solved) == 2


def test_a_file_that_matches_other_saes_is_not_believed(make_sae, tmp_path, solved, caplog):
    cache = MatchingCache(tmp_path)
    first = cache.match(make_sae(0), make_sae(1), MatcherSettings())
    (file,) = tmp_path.iterdir()
    match(make_sae(2), make_sae(3)).save(file)
    assert torch.equal(cache.match(make_sae(0), make_sae(1), MatcherSettings()).permutation, first.permutation)
    assert len(solved) == 2
    assert "not a matching of these SAEs" in caplog.text


def test_a_cache_that_cannot_be_written_is_done_without(make_sae, caplog):
    found = MatchingCache(Path("/dev/null/cache")).match(make_sae(0), make_sae(1), MatcherSettings())
    assert torch.equal(found.permutation, match(make_sae(0), make_sae(1)).permutation)
    assert "cannot write /dev/null/cache" in caplog.text


def test_an_interrupted_write_leaves_no_file(make_sae, tmp_path, monkeypatch):
    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sae_match.matching.storage.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings())
    assert list(tmp_path.iterdir()) == []
