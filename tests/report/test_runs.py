import re

import pytest
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.report.judged.results import save_results
from sae_match.report.runs import find_runs
from tests.report.judged.made_up import answers
from tests.report.made_up import results, spans
from tests.report.run_folders import NEIGHBOURS, run_folder

HEADER = "source_layer,target_layer,arm,dataset,metric,value,low,high,tokens,documents\n"


def test_a_run_is_read_with_what_it_was_told(tmp_path):
    run_folder(tmp_path / "out", "cosine", text__seed=3, logger__group="mine")
    ((run,), unfinished) = find_runs([tmp_path])
    assert unfinished == []
    assert run.folder == tmp_path / "out"
    assert run.settings["matcher.metric"] == "cosine"
    assert run.settings["sae.layers.3.l0"] == 6
    assert run.settings["evaluation.arms"] == '["matched"]'
    assert run.choices["matcher"] == "cosine"
    assert run.given == {"text.seed", "logger.group"}
    assert list(run.results) == list(results(NEIGHBOURS))
    assert list(run.spans) == spans([1])
    assert run.group == "mine"


def test_jobs_are_in_the_order_of_their_numbers_and_share_the_group_of_their_sweep(tmp_path):
    for job in (10, 9, 0):
        run_folder(tmp_path / "multirun" / str(job), sweep=True)
    runs, _ = find_runs([tmp_path / "multirun"])
    assert [run.folder.name for run in runs] == ["0", "9", "10"]
    # The folder alone, as seen from where the sweep was started.
    assert {run.group for run in runs} == {"multirun"}


def test_a_run_that_several_folders_hold_is_found_once(tmp_path):
    run_folder(tmp_path / "sweep" / "0")
    run_folder(tmp_path / "sweep" / "1")
    runs, _ = find_runs([tmp_path / "sweep" / "1", tmp_path / "sweep", tmp_path])
    assert [run.folder.name for run in runs] == ["1", "0"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: (run / "results.csv").unlink(), "no results.csv, it is not finished"),
        (lambda run: (run / "spans.csv").unlink(), "no spans.csv, it is not finished"),
        (lambda run: (run / "error.txt").write_text("no file for layer 3\n"), "no file for layer 3"),
        (lambda run: (run / "spans.csv").write_text("span,arm\n1,matched\n"), "has no column dataset"),
        (lambda run: (run / "results.csv").write_bytes(b"\xff\xfe\x00"), "decode"),
        (lambda run: (run / ".hydra" / "hydra.yaml").write_text("hydra: {}"), "overrides"),
        (lambda run: (run / ".hydra" / "hydra.yaml").write_text("hydra: 3"), "hydra.yaml is cut short"),
        (lambda run: (run / ".hydra" / "hydra.yaml").write_text("hydra:\n  overrides:\n"), "hydra.yaml is cut short"),
        (lambda run: (run / "results.csv").write_text(HEADER), "hold no arm"),
        (lambda run: (run / ".hydra" / "hydra.yaml").unlink(), "hydra.yaml cannot be read: .*No such file"),
        (
            lambda run: (run / ".hydra" / "config.yaml").write_text("model: {"),
            "config.yaml cannot be read: while parsing",
        ),
        (
            lambda run: (run / ".hydra" / "config.yaml").write_text("a: !python/object:os.x {}"),
            "cannot be read: could not",
        ),
        (lambda run: (run / ".hydra" / "config.yaml").write_bytes(b"\xff"), "config.yaml cannot be read"),
        (lambda run: (run / ".hydra" / "config.yaml").write_text("[]"), "config.yaml holds no settings"),
    ],
)
def test_a_run_that_is_not_finished_or_damaged_is_left_out_with_the_reason(tmp_path, spoil, reason):
    run_folder(tmp_path / "0")
    spoil(run_folder(tmp_path / "1"))
    runs, unfinished = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["0"]
    assert [one.folder for one in unfinished] == [tmp_path / "1"]
    assert re.search(reason, unfinished[0].reason)


def test_other_programs_and_checks_are_passed_over(tmp_path):
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "check", check=True)
    (tmp_path / "match" / ".hydra").mkdir(parents=True)
    (tmp_path / "match" / ".hydra" / "config.yaml").write_text("matcher: {fold: none}\n")
    runs, unfinished = find_runs([tmp_path])
    assert (len(runs), unfinished) == (1, [])


def test_a_judges_run_is_no_validation_though_its_files_have_the_same_names(tmp_path):
    run_folder(tmp_path / "0")
    judged = run_folder(tmp_path / "judged")
    save_results({"me": answers()}, judged)
    config = OmegaConf.load(judged / ".hydra" / "config.yaml")
    del config["evaluation"]
    config.judge, config.study = {"kind": "token_overlap"}, {"paths": 10}
    OmegaConf.save(config, judged / ".hydra" / "config.yaml")
    runs, unfinished = find_runs([tmp_path])
    assert ([run.folder.name for run in runs], unfinished) == (["0"], [])


def test_folders_without_a_run_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"no finished validation in .*: one has \.hydra/config\.yaml, results\.csv"):
        find_runs([tmp_path])
    (run_folder(tmp_path / "3") / "results.csv").unlink()
    with pytest.raises(UserError, match=r"no finished validation in .*3: no results\.csv"):
        find_runs([tmp_path])
