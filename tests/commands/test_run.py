"""Programs are run from Python as well, as in a notebook's cell: what called them lives on."""

import json

import pytest

from sae_match.commands import run
from sae_match.errors import UserError
from tests import programs

CELLS = """
import json, logging, sys
from sae_match.commands import run
from sae_match.errors import UserError

sys.argv = ["kernel", "-f", "connection.json"]
before = list(logging.getLogger().handlers)
said = []
for told in (["rotations=0", "pairs=[[3,4]]", "progress=false"], ["pairs=[[0,9]]"], ["--help"], ["pears=1"]):
    where = [] if told == ["--help"] else ["cache_dir=cache/matchings", f"hydra.run.dir=out{len(said)}"]
    try:
        run("match", *told, *where)
        said.append("done")
    except UserError as error:
        said.append(str(error))
json.dump([said, sys.argv, before == logging.getLogger().handlers], open("said.json", "w"))
"""


def test_the_kernel_lives_on_whatever_becomes_of_a_program(tmp_path):
    done = programs.run("-c", CELLS, folder=tmp_path, environment=programs.quiet_environment())
    assert done.returncode == 0, done.stderr
    said, argv, same_handlers = json.loads((tmp_path / "said.json").read_text())
    assert said[0] == said[2] == "done"
    assert said[1].startswith("no SAE for layer 9")
    assert said[3].startswith("there is no setting pears; did you mean pairs?")
    assert argv == ["kernel", "-f", "connection.json"]
    assert same_handlers
    assert (tmp_path / "out0" / "matchings.csv").is_file()
    # The error stands in the log file as it is said.
    assert "no SAE for layer 9" in (tmp_path / "out1" / "match.log").read_text()


def test_a_program_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="no program 'mach'; there are validate, match"):
        run("mach")
