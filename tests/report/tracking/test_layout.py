from sae_match.evaluation.cautions import Caution, save_cautions
from sae_match.report.runs import find_runs
from sae_match.report.tracking.layout import layout
from tests.report.made_up import METRICS, PAIRS
from tests.report.run_folders import run_folder

SECTIONS = ["overview", "folding", "ladder", "persistence", "pairs"]


def laid_out(folder):
    return {section.name: section.panels for section in layout(find_runs([folder])[0])}


def titles(panels, kind):
    return [panel.title for panel in panels if panel.kind == kind]


DRAWN = [f"figures/delta_loss{ending}.png" for ending in ("", "_controls", "_by_distance", "_by_distance_controls")]


def test_every_section_asks_its_question(tmp_path):
    run_folder(tmp_path / "0", pairs=PAIRS)
    run = run_folder(tmp_path / "1", "unfolded", pairs=PAIRS)
    for name in ("figures/folding_error.png", *DRAWN, "pairs/L00-L01.parquet"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    sections = laid_out(tmp_path)
    assert list(sections) == SECTIONS
    assert sections["overview"][0].kind == "settings"
    assert titles(sections["overview"], "picture") == ["delta loss", "delta loss controls"]
    assert titles(sections["folding"], "picture") == ["folding error"]
    by_distance = ["delta loss by distance", "delta loss by distance controls"]
    assert titles(sections["persistence"], "picture") == by_distance
    by_layer = [panel.keys for panel in sections["folding"] if panel.kind == "lines"]
    assert ("by_layer/delta_loss/code/matched", "by_layer/delta_loss/code/matched_unfolded") in by_layer
    assert len(by_layer) == 2 * len(METRICS)
    (bars,) = (panel for panel in sections["ladder"] if panel.title == "delta loss, prose")
    assert {"delta_loss/prose/random", "delta_loss/prose/quantile_0.5"} <= set(bars.keys)
    (distances,) = (panel for panel in sections["persistence"] if panel.title == "delta loss by distance, code")
    assert distances.keys[:2] == ("delta_loss/code/matched", "delta_loss/code/matched/span_2")
    assert [panel.keys for panel in sections["pairs"]] == [("pairs",), ("pair_cost/L00-L01",)]


def test_warnings_are_shown_where_a_run_has_some(tmp_path):
    run = run_folder(tmp_path / "0")
    assert "warnings" not in titles(laid_out(tmp_path)["overview"], "table")
    save_cautions([], run / "warnings.csv")
    assert "warnings" not in titles(laid_out(tmp_path)["overview"], "table")
    save_cautions([Caution("kind", "layer 3", "It is so.", "Look.")], run / "warnings.csv")
    assert "warnings" in titles(laid_out(tmp_path)["overview"], "table")


def test_without_distances_a_note_says_how_to_have_them(tmp_path):
    run_folder(tmp_path / "0")
    (note,) = laid_out(tmp_path)["persistence"]
    assert (note.kind, note.keys) == ("note", ())
    assert "evaluation=spans" in note.title
    assert laid_out(tmp_path)["pairs"] == []
