import logging
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_match.errors import UserError
from sae_match.matching import cache as cache_module
from sae_match.matching.cache import MatchingCache
from sae_match.matching.matching import match
from sae_match.matching.settings import MatcherSettings
from tests.conftest import random_sae


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
        MatcherSettings(rejection_cost=5.0),
        MatcherSettings(tolerance=1e-3),
    ):
        cache.match(a, b, settings)
    assert len(solved) == 8


def test_another_way_to_the_same_matching_finds_it(make_sae, tmp_path, solved):
    for settings in (
        MatcherSettings(),
        MatcherSettings(solver="sparse"),
        MatcherSettings(solver="dense", memory=2.0),
        MatcherSettings(precision="float64", device="cpu"),
    ):
        MatchingCache(tmp_path).match(make_sae(0), make_sae(1), settings)
    assert len(solved) == 1


def test_another_format_version_misses_the_cache(make_sae, tmp_path, solved, monkeypatch):
    MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings())
    monkeypatch.setattr(cache_module, "FORMAT_VERSION", "another")
    MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings())
    assert len(solved) == 2


@pytest.mark.parametrize("settings", [MatcherSettings(), MatcherSettings(solver="sparse", rejection_cost=9.0)])
def test_what_is_found_again_is_what_was_found(make_sae, tmp_path, settings):
    first, again = (MatchingCache(tmp_path).match(make_sae(0), make_sae(1, d_sae=12), settings) for _ in range(2))
    assert torch.equal(first.permutation, again.permutation)
    assert torch.equal(first.pair_cost.nan_to_num(-1), again.pair_cost.nan_to_num(-1))
    assert (first.lower_bound, first.evidence, first.one_to_one) == (
        again.lower_bound,
        again.evidence,
        again.one_to_one,
    )
    assert first.provenance.items() <= again.provenance.items()


def unproven(matching):
    """The same with a bound that proves little."""
    return replace(matching, lower_bound=0.5 * matching.cost, evidence=replace(matching.evidence, proven=False))


def test_what_was_not_proven_is_found_again_for_nobody(make_sae, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "match", lambda *given, **settings: unproven(match(*given, **settings)))
    cache = MatchingCache(tmp_path)
    assert cache.match(make_sae(0), make_sae(1), MatcherSettings(solver="sparse")).gap == pytest.approx(0.5)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(cache_module, "match", match)
    assert cache.match(make_sae(0), make_sae(1), MatcherSettings(solver="dense")).gap <= 1e-6


@pytest.mark.parametrize("proven", [None, False])
def test_a_file_that_does_not_prove_what_is_asked_for_is_not_served(make_sae, tmp_path, solved, caplog, proven):
    cache, settings = MatchingCache(tmp_path), MatcherSettings()
    found = cache.match(make_sae(0), make_sae(1), settings)
    (file,) = tmp_path.iterdir()
    kept = unproven(found)
    replace(kept, evidence=replace(kept.evidence, proven=proven)).save(file)
    assert cache.match(make_sae(0), make_sae(1), settings).gap <= 1e-6
    assert len(solved) == 2
    assert "is proven to 5.0e-01 only, not to 1.0e-06; matching again" in caplog.text


def test_a_file_with_another_partner_or_cost_than_was_found_is_not_served(make_sae, tmp_path, solved, caplog):
    """Bits that a disk or another program has changed: still a permutation, still said to be proven."""
    cache, settings = MatchingCache(tmp_path), MatcherSettings()
    found = cache.match(make_sae(0), make_sae(1), settings)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    first, second = (whole.index(number.numpy().tobytes()) for number in found.pair_cost[:2])
    swapped = bytearray(whole)
    swapped[first : first + 8], swapped[second : second + 8] = whole[second : second + 8], whole[first : first + 8]
    file.write_bytes(swapped)
    again = cache.match(make_sae(0), make_sae(1), settings)
    assert torch.equal(again.pair_cost, found.pair_cost)
    assert len(solved) == 2
    assert "is damaged: it is not what its checksum says; matching again" in caplog.text


def test_what_float64_cannot_tell_apart_counts_as_proven(make_sae, tmp_path, solved):
    source = make_sae(0)
    nearly = replace(source, b_enc=source.b_enc * (1 + 1e-7))
    for _ in range(2):
        assert MatchingCache(tmp_path).match(source, nearly, MatcherSettings(tolerance=0.0)).evidence.proven
    assert len(solved) == 1


def test_an_sae_that_is_edited_in_place_is_another_one(make_sae, tmp_path, solved):
    cache, source, target = MatchingCache(tmp_path), make_sae(0), make_sae(1)
    before = cache.match(source, target, MatcherSettings())
    target.W_dec.numpy()[:] = target.W_dec.flip(0).numpy()
    target.W_enc[:] = target.W_enc.flip(1)
    after = cache.match(source, target, MatcherSettings())
    assert len(solved) == 2
    assert before.provenance["target"] != after.provenance["target"]


def test_nothing_but_the_matching_is_left(make_sae, tmp_path):
    MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings(solver="sparse"))
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


def test_an_interrupted_matching_goes_on_in_the_next_run(make_sae, tmp_path):
    def interrupt(status):
        if status.round == 2:
            raise KeyboardInterrupt

    cache, settings = MatchingCache(tmp_path), MatcherSettings(solver="sparse")
    source, target = make_sae(0, d_sae=100), make_sae(1, d_sae=100)
    with pytest.raises(KeyboardInterrupt):
        cache.match(source, target, settings, watch=interrupt)
    assert [file.suffix for file in tmp_path.iterdir()] == [".unfinished"]
    told = []
    found = cache.match(source, target, settings, watch=told.append)
    assert told[0].round == 2
    assert torch.equal(found.permutation, match(source, target).permutation)
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


class _TellsOfWaiting(logging.Handler):
    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def emit(self, record):
        if "is waited for" in record.getMessage():
            self.waits.set()


def _match_beside_another(folder, waits, results):
    """Match a pair; whoever solves it does not go on before the other waits."""
    solved = []

    def watch(_status):
        solved.append(True)
        waits.wait(60)

    logging.getLogger(cache_module.__name__).addHandler(_TellsOfWaiting(waits))
    logging.getLogger(cache_module.__name__).setLevel(logging.INFO)
    found = MatchingCache(folder).match(random_sae(0), random_sae(1), MatcherSettings(), watch=watch)
    results.put((bool(solved), found.permutation.tolist()))


def test_two_processes_that_want_the_same_pair_solve_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    waits, results = context.Event(), context.Queue()
    processes = [context.Process(target=_match_beside_another, args=(tmp_path, waits, results)) for _ in range(2)]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(solved for solved, _ in outcomes) == [False, True]
    assert waits.is_set()
    assert outcomes[0][1] == outcomes[1][1] == match(random_sae(0), random_sae(1)).permutation.tolist()
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


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

    monkeypatch.setattr("sae_match.matching.tensor_files.to_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"solver": "hungarian"}, {"precision": "int8"}, {"memory": -1.0}])
def test_a_choice_that_does_not_exist_is_refused_whatever_the_cache_holds(make_sae, tmp_path, wrong):
    MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings())
    with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
        MatchingCache(tmp_path).match(make_sae(0), make_sae(1), MatcherSettings(**wrong))
