"""Settings that there are not, and exit statuses, by ending real programs."""

import signal
from dataclasses import dataclass, field
from textwrap import dedent

import pytest
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.settings.entry import typed
from tests import programs


@dataclass
class Inner:
    fold: str = "none"


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    several: dict[str, Inner] = field(default_factory=dict)
    free: dict[str, int] = field(default_factory=dict)


def composed(*added):
    """A config with settings that a command line has added with `+`."""
    config = OmegaConf.structured(Outer)
    OmegaConf.set_struct(config, False)
    for place, value in added:
        OmegaConf.update(config, place, value, force_add=True)
    return config


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("inner.fould", r"there is no setting inner\.fould; did you mean inner\.fold\?"),
        ("iner", r"there is no setting iner; did you mean inner\?"),
        ("nothing_like_it", "there is no setting nothing_like_it; there are inner, several, free"),
        ("several.a.fould", r"there is no setting several\.a\.fould; did you mean several\.a\.fold\?"),
        ("fold", r"there is no setting fold; did you mean inner\.fold\?"),
    ],
)
def test_what_is_added_and_no_setting_is_refused(place, message):
    with pytest.raises(UserError, match=message):
        typed(composed(("several.a", Inner()), (place, 1)), Outer)


def test_a_text_that_is_given_without_a_character_is_named():
    with pytest.raises(UserError, match=r"inner\.fold is empty; give it a value: inner\.fold=…"):
        typed(composed(("inner.fold", "")), Outer)


def test_what_has_to_be_told_is_named():
    with pytest.raises(UserError, match=r"inner\.fold is not set; give it a value: inner\.fold=…"):
        typed(composed(("inner.fold", "???")), Outer)


def test_what_may_be_added_is_kept():
    settings = typed(composed(("free.anything", 3), ("several.b", Inner("threshold"))), Outer)
    assert settings == Outer(several={"b": Inner("threshold")}, free={"anything": 3})


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise UserError('no such thing')", 1, "error: no such thing"),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise SystemExit(3)", 3, ""),
        # What Lightning's trainer does with Ctrl-C, and with SIGTERM.
        ("\n    try:\n        raise KeyboardInterrupt\n    except KeyboardInterrupt:\n        exit(1)", 130, ""),
        ("raise SystemExit", 143, ""),
        # At once, whatever is being done.
        ("import os\n    os.kill(os.getpid(), 15)\n    while True:\n        pass", 143, ""),
    ],
)
def test_the_exit_status_says_how_a_program_ended(tmp_path, body, status, said):
    done = ran(tmp_path, body)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interruption_while_configs_are_composed_is_one_line(tmp_path):
    """Hydra composes in a second, and longer on a machine that is busy."""
    done = ran(tmp_path, "pass", "ConfigStore.instance().load = interrupt")
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"


def ran(tmp_path, body, before="pass"):
    """What became of a program whose `main` is the body."""
    (tmp_path / "small.yaml").write_text("defaults: [schema@_global_: small, _self_]\nhydra: {run: {dir: out}}\n")
    program = tmp_path / "small.py"
    interrupt = """
    def interrupt(*_, **__):
        raise KeyboardInterrupt
    """
    head = """
    from dataclasses import dataclass
    from pathlib import Path
    from hydra.core.config_store import ConfigStore
    from sae_match.errors import UserError
    from sae_match.settings.entry import entry_point

    @dataclass
    class Small:
        number: int = 0

    @entry_point(Path(__file__).with_name("small.yaml"), Small)
    def main(settings):
    """
    program.write_text(f"{dedent(head).rstrip()}\n    {body}\n\n{dedent(interrupt)}\n{before}\nmain()\n")
    return programs.run(program, folder=tmp_path)


DROPPED = """
import signal, time, weakref
from sae_match.settings.entry import exit_statuses, heeding_sigterm, interrupted_again
class Thing: pass
def callback(_):
    signal.raise_signal(signal.{name})
    callback.__name__
with interrupted_again(), exit_statuses(), heeding_sigterm():
    thing = Thing()
    watched = weakref.ref(thing, callback)
    del thing
    time.sleep(20)
print("not heard")
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_heard_although_it_meets_a_callback_that_drops_it(name, status):
    done = programs.run("-c", DROPPED.format(name=name))
    assert done.returncode == status
    assert "not heard" not in done.stdout
    assert "Exception ignored" not in done.stderr


def test_without_that_it_is_dropped():
    text = DROPPED.format(name="SIGINT").replace("interrupted_again(), exit", "exit").replace("sleep(20)", "sleep(0.1)")
    done = programs.run("-c", text)
    assert done.returncode == 0
    assert "not heard" in done.stdout


def test_what_else_python_drops_is_told_as_before():
    text = "from sae_match.settings.entry import interrupted_again\nclass Thing:\n    def __del__(self): 1 / 0\n"
    done = programs.run("-c", f"{text}with interrupted_again():\n    Thing()\n")
    assert "ZeroDivisionError" in done.stderr


WARNED = """
import signal, time
from sae_match.settings.entry import exit_statuses, heeding_sigterm
before = signal.getsignal(signal.SIGUSR1)
try:
    with exit_statuses(), heeding_sigterm():
        signal.raise_signal(signal.SIGUSR1)
        time.sleep(20)
finally:
    print(signal.getsignal(signal.SIGUSR1) is before)
"""


@pytest.mark.parametrize(("job", "status"), [("77", 143), (None, -signal.SIGUSR1)])
def test_slurms_warning_ends_a_job_as_sigterm_does(job, status):
    environment = programs.quiet_environment(**({} if job is None else {"SLURM_JOB_ID": job}))
    done = programs.run("-c", WARNED, environment=environment, fresh=True)
    assert done.returncode == status
    assert done.stdout.splitlines() == ([] if job is None else ["True"])
