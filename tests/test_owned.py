"""Nothing is written over that no run of ours has left."""

from contextlib import suppress

import pytest

from sae_match.errors import UserError
from sae_match.owned import claim, is_made_here, kept_in_record, remove_table
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
    written = (".results.csv.0a1b2c3d.csv", "figures/.a.png.0a1b2c3d.png", "..figures.json.0a1b2c3d.json")
    halves = [tmp_path / name for name in written]
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


RECORDED = ("pairs", "features", "matchings", "csv", "figures")


@pytest.mark.parametrize(
    "name", ["pairs/L03-L04.parquet", "features/L03.parquet", "matchings/L3-L4.safetensors", "csv/metrics.csv"]
)
@pytest.mark.parametrize("since", ["a run", "a run of another program"])
def test_a_users_file_in_a_folder_of_a_run_stays(tmp_path, name, since):
    claim(tmp_path, RECORDED if since == "a run" else ["csv"])
    file = tmp_path / name
    file.parent.mkdir()
    file.write_text("mine")
    for _ in range(2):
        with pytest.raises(UserError, match=rf"holds {name}, which no run .* output_dir=DIR"):
            claim(tmp_path, RECORDED)
    # Also one that was laid there while the run was at work.
    with pytest.raises(UserError, match="would be written over"), kept_in_record(file):
        file.write_text("ours")
    assert file.read_text() == "mine"


def test_a_file_of_a_run_that_a_user_has_changed_stays(tmp_path):
    claim(tmp_path, RECORDED)
    file = tmp_path / "pairs" / "L03-L04.parquet"
    file.parent.mkdir()
    for _ in range(2):
        with kept_in_record(file):
            file.write_text("ours")
        claim(tmp_path, RECORDED)
    file.write_text("worked on")
    with pytest.raises(UserError, match=r"holds pairs/L03-L04\.parquet"):
        claim(tmp_path, RECORDED)


def test_what_lies_beside_the_files_of_a_run_is_in_nobodys_way(tmp_path):
    claim(tmp_path, RECORDED)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "L03-L04.xlsx").write_text("mine")
    claim(tmp_path, RECORDED)


def test_a_folder_of_an_earlier_version_is_gone_on_with(tmp_path):
    file = tmp_path / "matchings" / "L03-L04.safetensors"
    file.parent.mkdir()
    file.write_text("ours")
    (tmp_path / PROVENANCE).write_text('{"package_version": "0.1"}')
    (tmp_path / ".figures.json").write_text("{}")
    claim(tmp_path, RECORDED)
    with kept_in_record(file):
        file.write_text("ours anew")
    claim(tmp_path, RECORDED)
    # From then on there is a record.
    (tmp_path / "matchings" / "L04-L05.safetensors").write_text("mine")
    with pytest.raises(UserError, match=r"holds matchings/L04-L05\.safetensors"):
        claim(tmp_path, RECORDED)


def test_no_earlier_version_has_left_tables_of_features(tmp_path):
    (tmp_path / "results.csv").write_text("source_layer,target_layer,arm,dataset\n")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "L03.parquet").write_text("mine")
    with pytest.raises(UserError, match=r"holds features/L03\.parquet"):
        claim(tmp_path, RECORDED)


def test_a_run_that_was_killed_while_it_wrote_a_file_is_gone_on_with(tmp_path):
    claim(tmp_path, RECORDED)
    file = tmp_path / "csv" / "metrics.csv"
    with suppress(KeyboardInterrupt), kept_in_record(file):
        file.parent.mkdir()
        file.write_text("half of it")
        raise KeyboardInterrupt
    claim(tmp_path, RECORDED)


def test_two_runs_in_one_folder_know_each_others_files(tmp_path):
    claim(tmp_path, RECORDED)
    first, second = (tmp_path / "pairs" / f"L0{layer}-L04.parquet" for layer in (2, 3))
    first.parent.mkdir()
    with kept_in_record(first), kept_in_record(second):
        first.write_text("ours")
        second.write_text("ours too")
    claim(tmp_path, RECORDED)


@pytest.mark.parametrize("name", ["comparison.md", "judgements.csv", "judgements_7.csv", "kind_1/comparison.md"])
def test_a_users_notes_under_a_name_of_ours_stay(tmp_path, name):
    leaves = ("comparison.md", "judgements.csv", "judgements_*.csv", "kind_*")
    claim(tmp_path, leaves)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("# Comparison of what I think\n")
    with pytest.raises(UserError, match=rf"holds {name}, which"):
        claim(tmp_path, leaves)


def test_only_a_table_of_ours_is_removed(tmp_path):
    ours, theirs = tmp_path / "splits.csv", tmp_path / "lives.csv"
    ours.write_text("source_layer,target_layer,kind\n")
    theirs.write_text("whose,life\n")
    for file in (ours, theirs, tmp_path / "unmatched.csv", tmp_path / "mine.csv"):
        remove_table(file)
    assert [file.name for file in tmp_path.iterdir()] == ["lives.csv"]
