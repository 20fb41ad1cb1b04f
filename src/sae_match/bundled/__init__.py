"""A tiny Gemma 2 and its SAEs, shipped with the package; `CARD.md` beside this file says how they were made."""

from pathlib import Path


def path(name: str) -> str:
    """Folder of a bundled item: `model`, `saes` or `saes_seed_100`."""
    return str(Path(__file__).parent / name)
