"""Scripts, run as a user runs them."""

from pathlib import Path
from subprocess import CompletedProcess

from tests.programs import ROOT, Running, quiet_environment
from tests.programs import run as run_program

# Overrides for a validation of seconds.
FAST = (
    "text.documents=2",
    "text.max_tokens=48",
    "text.min_tokens=16",
    "evaluation.fitting_documents=4",
    "trainer.progress=false",
)
# Where pictures are not what is asked about: they take longer than all else.
PLAIN = "report.pictures=false"


def run(script: str, *told: str, folder: Path, check: bool = True, fresh: bool = False) -> CompletedProcess[str]:
    """What became of `python scripts/SCRIPT TOLD` in a folder; `check`: it must have ended well."""
    file = ROOT / "scripts" / script
    done = run_program(file, *told, folder=folder, environment=quiet_environment(), fresh=fresh)
    assert not check or done.returncode == 0, done.stderr
    return done


def start(script: str, *told: str, folder: Path, **environment: str) -> Running:
    """The same, while it runs."""
    return Running([ROOT / "scripts" / script, *told], folder, quiet_environment(**environment))


def assert_refused(done: CompletedProcess[str], message: str) -> None:
    """The program ended with a clear line."""
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
