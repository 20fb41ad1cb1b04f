"""Of what stands where a page goes, only what the explorer wrote is replaced."""

import pytest

from sae_match.errors import UserError
from sae_match.report.explorer.replacing import remove_unfinished
from sae_match.report.explorer.writing import write_explorer
from tests.report.explorer.made_up import explorer_data


def everything(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refused(folder, what):
    before = everything(folder)
    with pytest.raises(UserError, match=what):
        write_explorer(explorer_data(), folder)
    assert everything(folder) == before


def test_a_users_folder_of_the_same_name_stays(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.tex").write_text("years")
    refused(tmp_path, r"thesis.tex was not made by this program.*output_dir=DIR")


def test_a_file_that_a_user_added_stays(tmp_path):
    write_explorer(explorer_data(), tmp_path)
    (tmp_path / "report" / "data" / "notes.js").write_text("mine")
    refused(tmp_path, "notes.js was not made by this program")


def test_a_chunks_name_alone_proves_nothing(tmp_path):
    (tmp_path / "report" / "data").mkdir(parents=True)
    (tmp_path / "report" / "data" / "index.js").write_text("export default 1;")
    refused(tmp_path, "index.js was not made by this program")


def test_a_users_page_stays(tmp_path):
    (tmp_path / "report.html").write_text("<h1>Mine</h1>")
    refused(tmp_path, "report.html is no page of this program")


def test_a_link_to_a_users_folder_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="is not a folder that this program made"):
        write_explorer(explorer_data(), tmp_path / "run")
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_a_page_of_an_earlier_version_is_replaced(tmp_path):
    write_explorer(explorer_data(), tmp_path)
    (tmp_path / "report" / "page" / "wordcloud.js").write_text("a script that there is no more")
    (tmp_path / "report" / ".DS_Store").write_text("")
    write_explorer(explorer_data(), tmp_path)
    assert not (tmp_path / "report" / "page" / "wordcloud.js").exists()


def test_what_a_killed_run_left_is_removed_and_a_users_folder_is_not(tmp_path):
    write_explorer(explorer_data(), tmp_path)
    (tmp_path / "report").rename(tmp_path / ".report.a1b2c3d4")
    (tmp_path / ".report.a1b2c3d4" / "data" / ".judgements.js.0a_b1c2d.js").write_text("Expl")
    (tmp_path / ".report.mine").mkdir()
    (tmp_path / ".report.mine" / "thesis.tex").write_text("years")
    remove_unfinished(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"report.html", ".report.mine"}
