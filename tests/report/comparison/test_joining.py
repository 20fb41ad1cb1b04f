from sae_match.report.comparison.joining import join
from sae_match.report.runs import find_runs
from tests.report.run_folders import NEIGHBOURS, run_folder


def joined(folder):
    return join(find_runs([folder])[0])


def test_a_choice_tells_all_that_it_stands_for(tmp_path):
    for job, matcher in enumerate(("folded", "unfolded", "cosine")):
        run_folder(tmp_path / str(job), matcher)
    (one,) = joined(tmp_path)
    assert one.differing == {"matcher": ["folded", "unfolded", "cosine"]}
    assert one.labels == ["matcher=folded", "matcher=unfolded", "matcher=cosine"]
    assert one.names == ["0", "1", "2"]
    assert one.about == "model=bundled, text=bundled"
    assert one.notes == []
    assert one.told(1) == {"matcher": "unfolded"}


def test_plain_values_are_told_by_their_names(tmp_path):
    for job, l0 in enumerate((3, 6)):
        run_folder(tmp_path / str(job), sae__layers__3__l0=l0)
    (one,) = joined(tmp_path)
    assert one.differing == {"sae.layers.3.l0": [3, 6]}
    assert one.labels == ["sae.layers.3.l0=3", "sae.layers.3.l0=6"]


def test_choices_and_values_go_together(tmp_path):
    run_folder(tmp_path / "0", "folded", text__seed=0)
    run_folder(tmp_path / "1", "unfolded", text__seed=1)
    (one,) = joined(tmp_path)
    assert one.differing == {"matcher": ["folded", "unfolded"], "text.seed": [0, 1]}


def test_a_value_set_by_hand_is_not_hidden_by_a_choice(tmp_path):
    run_folder(tmp_path / "0", "folded", matcher__terms__W_enc=2.0)
    run_folder(tmp_path / "1", "unfolded")
    (one,) = joined(tmp_path)
    assert one.differing == {"matcher": ["folded", "unfolded"], "matcher.terms.W_enc": [2.0, 1.0]}
    run_folder(tmp_path / "2", "unfolded", matcher__metric="cosine")
    (one,) = joined(tmp_path)
    assert list(one.differing) == ["matcher", "matcher.metric", "matcher.terms.W_enc"]


def test_where_and_how_a_run_is_computed_does_not_tell_it_apart(tmp_path):
    run_folder(tmp_path / "0")
    run_folder(
        tmp_path / "1",
        matcher__device="cuda",
        text__batch=2,
        trainer__devices=2,
        logger__name="two",
        cache_dir="there",
        descriptions__mode="auto",
    )
    (one,) = joined(tmp_path)
    assert one.differing == {}


def test_runs_with_the_same_settings_are_kept_numbered_and_said(tmp_path):
    for job, matcher in enumerate(("folded", "unfolded", "folded")):
        run_folder(tmp_path / str(job), matcher)
    (one,) = joined(tmp_path)
    assert one.labels == ["matcher=folded (1)", "matcher=unfolded", "matcher=folded (2)"]
    assert one.notes == ["2 runs have the same settings (matcher=folded), each is kept: 0, 2"]
    assert one.told(2) == {"run": "2", "matcher": "folded"}


def test_runs_that_differ_in_nothing_are_called_by_their_folders(tmp_path):
    run_folder(tmp_path / "a" / "0")
    (one,) = joined(tmp_path)
    assert (one.labels, one.notes) == (["0"], [])
    run_folder(tmp_path / "b" / "0")
    (one,) = joined(tmp_path)
    assert one.labels == ["a/0", "b/0"]
    assert one.notes == ["2 runs have the same settings, each is kept: a/0, b/0"]


def test_models_and_texts_are_kept_apart(tmp_path):
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "1", model__source="other", choices={"model": "gpt2"})
    run_folder(tmp_path / "2", text__datasets__prose__kind="files")
    run_folder(tmp_path / "3", "unfolded")
    kinds = joined(tmp_path)
    assert [kind.names for kind in kinds] == [["0", "3"], ["1"], ["2"]]
    assert [kind.labels for kind in kinds] == [["matcher=folded", "matcher=unfolded"], ["1"], ["2"]]
    assert "model.source=other" in kinds[1].about
    assert "text.datasets.prose.kind=files" in kinds[2].about


def test_layers_that_a_run_lacks_are_named(tmp_path):
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "1", "cosine", pairs=[NEIGHBOURS[0], NEIGHBOURS[2]])
    (one,) = joined(tmp_path)
    assert one.notes == ["matcher=cosine has no results of layers 1→2: its means are over fewer pairs"]


def test_a_distance_that_a_run_was_not_asked_for_is_nothing_that_it_lacks(tmp_path):
    run_folder(tmp_path / "0", pairs=[*NEIGHBOURS, (0, 2), (1, 3)])
    run_folder(tmp_path / "1", "cosine")
    assert joined(tmp_path)[0].notes == []
