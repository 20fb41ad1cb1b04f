import csv

import pytest
from matplotlib.figure import Figure

from sae_match.errors import UserError
from sae_match.owned import MadeFiles, claim
from sae_match.report.attempts import Attempts
from sae_match.report.picture import Picture, save_pictures


def picture():
    figure = Figure()
    figure.subplots().plot([0, 1], [2, 3])
    return Picture("lines", figure, [{"layer": 1, "value": 0.1}, {"layer": 2, "value": 1 / 3}])


def test_a_picture_leaves_two_images_and_its_numbers(tmp_path):
    assert picture().save(tmp_path) == tmp_path / "lines.png"
    assert {file.name for file in tmp_path.iterdir()} == {"lines.png", "lines.svg", "lines.csv"}
    assert (tmp_path / "lines.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "lines.svg").read_text()
    with (tmp_path / "lines.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["layer"]), float(row["value"])) for row in rows] == [(1, 0.1), (2, 1 / 3)]


def test_the_same_picture_is_the_same_svg(tmp_path):
    for name in ("first", "second"):
        picture().save(tmp_path / name)
    assert (tmp_path / "first" / "lines.svg").read_bytes() == (tmp_path / "second" / "lines.svg").read_bytes()


def drawings(*names):
    def draw(name):
        figure = Figure()
        figure.subplots().plot([0, 1], [2, 3])
        return iter([Picture(name, figure, [{"layer": 1}], {"more": [{"a": 1}]})])

    return [(name, lambda name=name: draw(name)) for name in names]


def saved(folder, *names):
    """Names of the pictures that were saved, and what is said of those that were not."""
    attempts = Attempts()
    pictures = [picture.name for picture in save_pictures(drawings(*names), folder, attempts)]
    return pictures, attempts


def test_files_that_a_user_lays_among_pictures_survive_the_next_run(tmp_path):
    claim(tmp_path, ["figures"])
    folder = tmp_path / "figures"
    assert saved(folder, "first")[0] == ["first"]
    claim(tmp_path, ["figures"])
    for name in ("notes.md", "second.svg", "second_more.csv"):
        (folder / name).write_text("mine")
    pictures, attempts = saved(folder, "first", "second", "third")
    assert pictures == ["first", "third"]
    assert "second.svg is not what a run of this program has left" in str(attempts.failed)
    assert [(folder / name).read_text() for name in ("notes.md", "second.svg", "second_more.csv")] == ["mine"] * 3
    assert not (folder / "second.png").exists()
    # Also what was a picture of ours before it was worked on.
    (folder / "first.svg").write_text("worked on")
    assert saved(folder, "first")[0] == []
    assert (folder / "first.svg").read_text() == "worked on"
    with pytest.raises(UserError, match=r"holds figures/first\.svg, which no run of this program has left"):
        claim(tmp_path, ["figures"])


def test_a_run_that_was_killed_between_a_picture_and_its_record_is_gone_on_with(tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    MadeFiles(folder).begin(["first.png", "first.svg"])
    (folder / "first.png").write_text("half")
    for _ in range(2):
        assert saved(folder, "first")[0] == ["first"]


def test_pictures_of_earlier_versions_are_drawn_again(tmp_path):
    picture().save(tmp_path / "figures")
    for _ in range(2):
        assert saved(tmp_path / "figures", "lines")[0] == ["lines"]


@pytest.mark.parametrize("record", ["", "nothing", "[1]", '{"../x.png": null}', '{"lines.png": 3}', "[" * 100_000])
def test_a_record_that_is_none_is_refused_and_left(tmp_path, record):
    (tmp_path / ".figures.json").write_text(record)
    with pytest.raises(UserError, match=r"\.figures\.json is no record of what runs have written to figures"):
        saved(tmp_path / "figures", "lines")
    assert (tmp_path / ".figures.json").read_text() == record
