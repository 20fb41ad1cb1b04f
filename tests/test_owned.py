"""Nothing is written over that no run of ours has left."""

import pytest

from sae_match.errors import UserError
from sae_match.owned import claim, is_made_here
from sae_match.version import PROVENANCE

LEAVES = ("results.csv", "figures", "judgements_*.csv")


def test_a_new_folder_is_made_and_says_whose_it_is(tmp_path):
    claim(tmp_path / "new", LEAVES)
    assert is_made_here(tmp_path / "new")


def test_what_a_user_keeps_beside_is_in_nobodys_way(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    claim(tmp_path, LEAVES)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("name", ["results.csv", "judgements_2.csv", PROVENANCE])
def test_a_file_that_would_be_written_over_is_named(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"holds {name}, which no run .* output_dir=DIR"):
        claim(tmp_path, LEAVES)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "mine")]


def test_a_folder_of_pictures_that_would_be_written_into_is_named(tmp_path):
    (tmp_path / "figures").mkdir()
    with pytest.raises(UserError, match="holds figures"):
        claim(tmp_path, LEAVES)


def test_a_run_of_ours_may_be_repeated(tmp_path):
    claim(tmp_path, LEAVES)
    (tmp_path / "results.csv").write_text("source_layer,target_layer,arm\n")
    (tmp_path / "figures").mkdir()
    claim(tmp_path, LEAVES)


def test_what_a_killed_run_was_writing_is_removed(tmp_path):
    claim(tmp_path, LEAVES)
    (tmp_path / "figures").mkdir()
    halves = [tmp_path / name for name in (".results.csv.0a1b2c3d.csv", "figures/.a.png.0a1b2c3d.png")]
    others = [tmp_path / name for name in (".thesis.tex.0a1b2c3d.tex", ".results.csv")]
    for file in (*halves, *others):
        file.write_text("half of it")
    claim(tmp_path, LEAVES)
    assert not any(file.exists() for file in halves)
    assert all(file.exists() for file in others)


def test_a_users_table_in_a_folder_of_ours_stays(tmp_path):
    claim(tmp_path, LEAVES)
    (tmp_path / "results.csv").write_text("mine")
    with pytest.raises(UserError, match=r"holds results.csv, which"):
        claim(tmp_path, LEAVES)
    assert (tmp_path / "results.csv").read_text() == "mine"


def test_a_run_of_an_earlier_version_is_known_by_its_table(tmp_path):
    (tmp_path / "results.csv").write_text("source_layer,target_layer,arm,dataset\n")
    claim(tmp_path, LEAVES)


def test_provenance_of_another_program_is_not_ours(tmp_path):
    (tmp_path / PROVENANCE).write_text('{"version": 1}')
    assert not is_made_here(tmp_path)
    (tmp_path / PROVENANCE).write_text('["package_version"]')
    assert not is_made_here(tmp_path)
