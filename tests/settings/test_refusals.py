"""What Hydra refuses is refused in one line that names what there is instead."""

import pytest

from tests import programs
from tests.conftest import ROOT

CHOICES = "There are cosine, decoder_norm, decoder_only, encoder_only, folded, unfolded"
SETTINGS = (
    "there are sae, matcher, target, pairs, shard, shards, rotations, alpha, relations, progress, output_dir, cache_dir"
)


def said(folder, *told, environment=None):
    done = programs.run(ROOT / "scripts" / "match.py", *told, folder=folder, environment=environment)
    assert done.returncode == 1
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (["matcher=foldet"], f"there is no matcher=foldet; did you mean folded? {CHOICES}"),
        (["-m", "matcher=foldet,folded"], f"there is no matcher=foldet; did you mean folded? {CHOICES}"),
        (["--cfg", "job", "matcher=foldet"], f"there is no matcher=foldet; did you mean folded? {CHOICES}"),
        (["evaluation=nope"], "there is no group evaluation to choose from; there are sae, target, matcher"),
        (["target=null"], "null is no choice of a group; to choose nothing, say '~GROUP'"),
        (["+matcher=cosine"], "matcher is chosen already; to choose another one, say matcher=… without a +"),
        (["nothing=1"], f"there is no setting nothing; {SETTINGS}"),
        (["matchr.fold=none"], f"there is no setting matchr.fold; did you mean matcher? {SETTINGS.capitalize()}"),
        (["shard=x"], "shard=x: Value 'x' of type 'str' could not be converted to Integer"),
        (
            ["sae.layers.0.x=1"],
            "there is no setting sae.layers.0.x; there are width, l0; to add it, say +sae.layers.0.x=…",
        ),
        (["sae.source=${nope}"], "sae.source: Interpolation key 'nope' not found"),
        (["matcher.fold"], "cannot read matcher.fold: missing EQUAL at '<EOF>'"),
        (["matcher=[a"], "cannot read matcher=[a: no viable alternative at input '[a'"),
        (["~nope"], "Could not delete from config. 'nope' does not exist"),
        (["--config-dir", "/nope"], "Additional config directory '/nope' not found"),
        (["--config-name", "nope"], "Cannot find primary config 'nope'. Check that it's in your config search path"),
    ],
)
def test_a_refusal_is_one_line(tmp_path, told, line):
    assert said(tmp_path, *told) == [f"error: {line}"]


def test_a_launcher_that_is_not_installed_is_named_with_what_installs_it(tmp_path):
    without = "import runpy, sys; sys.modules['hydra_plugins'] = type(sys)('hydra_plugins')"
    code = f"{without}; sys.modules['hydra_plugins'].__path__ = []; sys.argv = sys.argv[1:]"
    program = f"{code}; runpy.run_path(sys.argv[0], run_name='__main__')"
    told = (ROOT / "scripts" / "match.py", "-m", "hydra/launcher=processes", "shard=0,1", "shards=2")
    done = programs.run("-c", program, *told, folder=tmp_path, fresh=True)
    assert done.returncode == 1
    line = 'error: hydra/launcher=processes needs the extra launchers: pip install -e ".[launchers]"'
    assert done.stderr.splitlines() == [line]


def test_a_traceback_can_be_had(tmp_path):
    lines = said(tmp_path, "matcher=foldet", environment={"HYDRA_FULL_ERROR": "1"})
    assert lines[0].startswith("Traceback")
    assert any("Could not find 'matcher/foldet'" in line for line in lines)


def test_arguments_that_there_are_not_act_on_no_terminal(tmp_path):
    strange = "--bo\x1b[31mgus\n[red]\u202egpj"
    done = programs.run(ROOT / "scripts" / "match.py", strange, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: unrecognized arguments: --bo\\x1b[31mgus [red]\\u202egpj (--help says what there is)"
    ]
