"""The mathematics of matching: costs, exact assignment with a certificate, composition."""

from pathlib import Path

from sae_match.homes import keep_compiled

# Before anything here is compiled, which without a folder to keep it in is refused.
keep_compiled(Path(__file__).parent)
