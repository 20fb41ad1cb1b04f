"""Matchings found again on disk by what they are matchings of."""

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import platformdirs

from sae_match.errors import UserError
from sae_match.matching.matching import MatcherSettings, Matching, match
from sae_match.matching.storage import FORMAT_VERSION
from sae_match.saes.sae import SAE

log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where matchings are cached unless told otherwise: the user's cache folder of this system."""
    return Path(platformdirs.user_cache_dir("sae-match")) / "matchings"


class MatchingCache:
    """Matchings in a folder, one file for each pair of SAEs and settings.

    Args:
        folder: Made when the first matching is written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def match(self, source: SAE, target: SAE, settings: MatcherSettings) -> Matching:
        """`match` under `settings`, or what it found before for SAEs of the same content."""
        file = self.folder / f"{_key(source, target, settings)}.safetensors"
        if file.is_file():
            try:
                return Matching.load(file)
            except UserError as error:
                log.warning("%s; matching again", error)
        matching = match(source, target, **asdict(settings))
        matching.save(file)
        return matching


def _key(source: SAE, target: SAE, settings: MatcherSettings) -> str:
    identity = {
        "format_version": FORMAT_VERSION,
        "settings": asdict(settings),
        "source": source.content_hash(),
        "target": target.content_hash(),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
