"""Files of other runs are data."""

import io

import pytest
from rich.console import Console

from sae_match.errors import UserError
from sae_match.report.comparison.comparing import compare
from sae_match.report.foreign import settings_in
from sae_match.report.runs import find_runs
from sae_match.report.tracking.settings import LoggerSettings
from tests.report.run_folders import run_folder

SECRET = "k3y-of-the-user"
HOSTILE = "${oc.env:WANDB_API_KEY}"


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize(
    "place", ["mode", "overrides/task", "runtime/choices", "runtime/output_dir", "runtime/cwd", "sweep/subdir", "check"]
)
def test_nothing_in_a_foreign_run_is_resolved(tmp_path, place):
    for job in range(2):
        folder = run_folder(tmp_path / "runs" / str(job), sweep=True, text__seed=job, logger__group=f"a{HOSTILE}")
        file = folder / ".hydra" / "hydra.yaml"
        text = file.read_text()
        if place == "check":
            config = folder / ".hydra" / "config.yaml"
            config.write_text(config.read_text().replace("check: false", f"check: 0\nsource: {HOSTILE}"))
        elif place == "mode":
            text = text.replace("mode: MULTIRUN", f"mode: {HOSTILE}")
        elif place == "overrides/task":
            text = text.replace("- matcher=folded", f"- text.seed={HOSTILE}")
        elif place == "runtime/choices":
            text = text.replace("matcher: folded", f"matcher: {HOSTILE}{job}")
        else:
            name = place.split("/")[1]
            text = "\n".join(
                f"{line.split(':')[0]}: {HOSTILE}" if line.strip().startswith(f"{name}:") else line
                for line in text.splitlines()
            )
        file.write_text(text)
    console = Console(file=io.StringIO(), width=200)
    compare([tmp_path / "runs"], tmp_path / "out", console, LoggerSettings(kind="none"), metrics=["delta_loss"])
    runs, _ = find_runs([tmp_path / "runs"])
    written = [file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    said = [console.file.getvalue().encode(), str([run.group for run in runs]).encode(), *written]
    assert not any(SECRET.encode() in one for one in said)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [1, 2]\nb: *a\n", "has aliases"),
        ("- 1\n", "holds no settings"),
        ("a: [\n", "cannot be read"),
        ("a: !!python/object/apply:os.getcwd []\n", "cannot be read"),
        ("a: ${oc.env:\n", "cannot be read"),
    ],
)
def test_what_no_run_writes_is_refused(tmp_path, text, why):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=why):
        settings_in(tmp_path / "config.yaml")


@pytest.mark.parametrize("name", ["spans.csv", "results.csv"])
@pytest.mark.parametrize("climbing", ["../../../ESCAPED", "/ESCAPED", "..", "a/b"])
def test_a_metric_of_a_foreign_run_is_no_path(tmp_path, name, climbing):
    folder = run_folder(tmp_path / "runs" / "0")
    file = folder / name
    file.write_text(file.read_text().replace("delta_loss", climbing))
    with pytest.raises(UserError, match=r"is no name of a metric"):
        compare([tmp_path / "runs"], tmp_path / "out", Console(file=io.StringIO()), LoggerSettings(kind="none"))
    assert not list(tmp_path.rglob("*ESCAPED*"))


@pytest.mark.parametrize(
    "spoilt", [b"\xff\xfe\x00", b'span,arm\n"' + b"x" * 200_000, b"span,arm,dataset\n\x00\x00,1,2\n"]
)
def test_a_damaged_table_leaves_its_run_out_and_no_other(tmp_path, spoilt):
    run_folder(tmp_path / "runs" / "0")
    folder = run_folder(tmp_path / "runs" / "1")
    (folder / "spans.csv").write_bytes(spoilt)
    runs, unfinished = find_runs([tmp_path / "runs"])
    assert [run.folder.name for run in runs] == ["0"]
    assert [one.folder.name for one in unfinished] == ["1"]
