import os
import time

import pytest

from sae_match.commands import cache as command
from sae_match.commands.kept import KINDS, kept, remove
from sae_match.errors import UserError
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.settings.tools import CacheSettings

HASH = "ab" * 32


@pytest.fixture
def cache(tmp_path):
    """A cache with a file of every kind, and files of somebody else's in its folders."""
    names = {
        "matchings": [f"matchings/{HASH}.safetensors"],
        "unfinished": [f"matchings/{HASH}.unfinished", f"matchings/{HASH}.lock"],
        "leftovers": [f"matchings/.{HASH}.safetensors.k2j3.safetensors", f"matchings/.{HASH}.unfinished.x8.unfinished"],
        "validations": [f"validations/{HASH}.safetensors", f"validations/.{HASH}.safetensors.a1.safetensors"],
        "neuronpedia": ["neuronpedia/gemma/20-res/7.json", "neuronpedia/gemma/20-res/explanations.parquet"],
    }
    foreign = [
        "matchings/thesis.tex",
        "matchings/mine.safetensors",
        "validations/notes.txt",
        "other/letter.safetensors",
    ]
    for name in (*foreign, *(name for several in names.values() for name in several)):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 1000)
    (tmp_path / "matchings" / ("cd" * 32 + ".safetensors")).symlink_to(tmp_path / "other" / "a.safetensors")
    return tmp_path, names, foreign


def test_each_kind_is_counted(cache):
    folder, names, _ = cache
    for kind in KINDS:
        found = kept(folder, kind)
        assert sorted(file.relative_to(folder).as_posix() for file in found.files) == sorted(names[kind])
        assert found.bytes == 1000 * len(names[kind])


def test_nothing_is_removed_that_is_not_ours(cache):
    folder, names, foreign = cache
    for kind in KINDS:
        remove(kept(folder, kind))
    for name in foreign:
        assert (folder / name).is_file()
    for several in names.values():
        assert not any((folder / name).exists() for name in several)


def test_what_was_written_since_stays(cache):
    folder, names, _ = cache
    (name,) = names["matchings"]
    assert kept(folder, "matchings", older_than=1.0).files == ()
    past = time.time() - 3 * 24 * 60 * 60
    os.utime(folder / name, (past, past))
    found = kept(folder, "matchings", older_than=1.0)
    assert [file.name for file in found.files] == [f"{HASH}.safetensors"]
    assert found.oldest == pytest.approx(3, abs=0.01)


def test_an_empty_cache_and_an_unknown_kind(tmp_path):
    assert kept(tmp_path / "nowhere", "matchings").files == ()
    with pytest.raises(UserError, match="the cache holds no 'everything'; it holds matchings, unfinished"):
        kept(tmp_path, "everything")
    with pytest.raises(UserError, match="older_than must be a number of days"):
        CacheSettings(older_than=-1.0)


def test_what_matchings_leave_is_found_and_removed(make_sae, tmp_path, capsys):
    folder = tmp_path / "cache" / "matchings"
    MatchingCache(folder).match(make_sae(0), make_sae(1), MatcherSettings())
    command.main(CacheSettings(cache_dir=str(folder), output_dir=str(tmp_path)))
    assert "| matchings   |     1 |" in capsys.readouterr().out
    command.main(CacheSettings(cache_dir=str(tmp_path / "cache"), remove=["matchings"], output_dir=str(tmp_path)))
    assert list(folder.iterdir()) == []
    assert "| matchings   |     0 |" in capsys.readouterr().out


def test_a_wrong_kind_removes_nothing(cache, tmp_path):
    folder, names, _ = cache
    with pytest.raises(UserError, match="holds no 'matching'"):
        command.main(CacheSettings(cache_dir=str(folder), remove=["matchings", "matching"], output_dir=str(tmp_path)))
    assert (folder / names["matchings"][0]).is_file()


def test_what_a_killed_process_was_writing_goes_with_the_next_matching(make_sae, tmp_path):
    cache = MatchingCache(tmp_path)
    cache.match(make_sae(0), make_sae(1), MatcherSettings())
    (file,) = tmp_path.iterdir()
    orphans = [
        tmp_path / f".{file.name}.3d2ca1f0.safetensors",
        tmp_path / f".{file.stem}.unfinished.98a2a1b3.unfinished",
    ]
    file.unlink()
    for orphan in orphans:
        orphan.write_bytes(b"half of it")
    cache.match(make_sae(0), make_sae(1), MatcherSettings())
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
