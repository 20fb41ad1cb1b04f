"""`python -m sae_match` is the command `sae-match`."""

from sae_match.commands.cli import main

main()
