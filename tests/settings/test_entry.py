"""Exit statuses, by ending real programs."""

from textwrap import dedent

import pytest

from tests import programs


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
    ],
)
def test_the_exit_status_says_how_a_program_ended(tmp_path, body, status, said):
    (tmp_path / "small.yaml").write_text("defaults: [schema@_global_: small, _self_]\nhydra: {run: {dir: out}}\n")
    program = tmp_path / "small.py"
    head = """
    from dataclasses import dataclass
    from pathlib import Path
    from sae_match.errors import UserError
    from sae_match.settings.entry import entry_point

    @dataclass
    class Small:
        number: int = 0

    @entry_point(Path(__file__).with_name("small.yaml"), Small)
    def main(settings):
    """
    program.write_text(f"{dedent(head).rstrip()}\n    {body}\n\nmain()\n")
    done = programs.run(program, folder=tmp_path)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
