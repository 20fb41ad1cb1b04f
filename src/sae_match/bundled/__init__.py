"""A tiny Gemma 2 and its SAEs, shipped with the package; `CARD.md` beside this file says how they were made."""

from pathlib import Path


def path(name: str) -> str:
    """Folder of a bundled item, such as `model`, `saes` or `saes_seed_100`; the card names them all."""
    return str(Path(__file__).parent / name)
