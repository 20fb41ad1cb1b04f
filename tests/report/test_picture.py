import csv

from matplotlib.figure import Figure

from sae_match.report.picture import Picture


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
