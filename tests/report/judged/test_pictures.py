import csv
import warnings

from sae_match.report.judged.pictures import judgement_pictures
from tests.report.judged.made_up import answer, answers
from tests.report.readme import cut_off


def test_there_is_a_picture_for_each_of_the_papers(tmp_path):
    drawn = {picture.name: picture for picture in judgement_pictures(answers())}
    assert set(drawn) == {"semantic_counts", "semantic_arms", "semantic_by_cost", "semantic_by_distance"}
    for picture in drawn.values():
        picture.save(tmp_path)
        assert cut_off(picture.figure) == []
    with (tmp_path / "semantic_arms.csv").open(newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert float(rows["random"]["score"]) == 1
    assert list(rows) == ["identical", "matched", "nearest", "random"]
    steps = drawn["semantic_counts"].rows
    assert [(row["target_layer"], row["same"]) for row in steps] == [(3, 4), (4, 4), (5, 4)]
    lines = {
        line.get_label(): line.get_xydata().tolist() for line in drawn["semantic_by_distance"].figure.axes[0].lines
    }
    assert [at for at, _ in lines["from layer 2, composed"]] == [1, 2, 3]
    assert lines["from layer 2, exact"][1] == [2, 2.0]


def test_a_judge_that_always_says_the_same_is_drawn_without_a_warning():
    alike = [answer("matched", 2, 3, (2, 2), path, cost=float(path)) for path in range(10)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {picture.name for picture in judgement_pictures(alike)} == {
            "semantic_counts",
            "semantic_arms",
            "semantic_by_cost",
        }
    silent = [answer("matched", 2, 3, (), path, cost=float(path)) for path in range(3)]
    assert len(list(judgement_pictures(silent))) == 3
