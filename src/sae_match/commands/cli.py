"""The command `sae-match`: every program as a subcommand."""

import sys

from sae_match.commands import PROGRAMS, program
from sae_match.strings import in_a_line
from sae_match.terminal import survive_any_encoding
from sae_match.version import version

_HELP = ("-h", "--help")
_MISUSED, _LONGEST = 2, 100


def main() -> None:
    """Run the program that the first word names; the others are what its script in `scripts/` takes."""
    survive_any_encoding()
    given = sys.argv[1:]
    if not given or given[0] in _HELP:
        print(_help())
        return
    name = given[0]
    if name == "--version":
        print(f"sae-match {version()}")
        return
    if name not in PROGRAMS:
        print(
            f"error: no command {in_a_line(repr(name), _LONGEST)}; there are {', '.join(PROGRAMS)} (sae-match --help)",
            file=sys.stderr,
        )
        raise SystemExit(_MISUSED)
    # Hydra reads all words but the first.
    sys.argv = [sys.argv[0], *given[1:]]
    program(name)()


def _help() -> str:
    width = max(map(len, PROGRAMS))
    commands = "\n".join(f"  {name:<{width}}  {one.about}" for name, one in PROGRAMS.items())
    return f"""sae-match COMMAND [GROUP=CHOICE] [NAME=VALUE] …

Match sparse-autoencoder features across the layers of a language model, exactly and without data.

{commands}

  sae-match COMMAND --help  says what a command can be told
  sae-match --version       says which version this is"""
