"""An offline run that is moved before it is uploaded loses nothing: W&B's own upload, to a server on this machine."""

import pytest

from sae_match.report.tracking.logger import open_logger, wandb_run
from sae_match.report.tracking.records import log_files
from sae_match.report.tracking.settings import LoggerSettings
from tests import programs
from tests.report.tracking.saved import saved_run
from tests.report.tracking.wandb_server import wandb_server

FILES = (
    "results.csv",
    "warnings.csv",
    "matchings/L00-L01.safetensors",
    "pairs/L00-L01.parquet",
    "figures/delta_loss.svg",
)


def uploaded(folder, home):
    """Files that `wandb sync` sends of the one run in a folder."""
    (run,) = folder.glob("wandb/offline-run-*")
    with wandb_server() as (address, received):
        environment = programs.quiet_environment(
            WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40, HOME=str(home), WANDB_MODE="online"
        )
        done = programs.run("-m", "wandb", "sync", run, folder=home, environment=environment, fresh=True)
    assert done.returncode == 0, done.stderr
    return received


@pytest.mark.parametrize("is_moved", [False, True])
def test_what_an_offline_run_has_logged_is_uploaded_from_wherever_it_lies(tmp_path, is_moved):
    folder = tmp_path / "run"
    saved_run(folder)
    kept = {name: (folder / name).read_bytes() for name in FILES}
    with open_logger(LoggerSettings(mode="offline"), folder, {}) as logger:
        import wandb

        wandb_run(logger).log({"pairs": wandb.Table(columns=["cost"], data=[[0.25]])})
        log_files(logger, folder)
    if is_moved:
        folder = folder.rename(tmp_path / "elsewhere")
    received = uploaded(folder, tmp_path)
    assert any(name.startswith("run/media/table/pairs") for name in received)
    of_run = {name: received.get(f"run/logged/{name}") for name in FILES}
    of_artifacts = {name: received.get(f"artifact/{name}") for name in FILES}
    assert of_run == kept
    # W&B has whole paths in what it calls artifacts, and says nothing of those that it does not find any more.
    assert of_artifacts == (dict.fromkeys(FILES) if is_moved else kept)
