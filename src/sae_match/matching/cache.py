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
        """`match` under `settings`, or what it found before for SAEs of the same content.

        A file that cannot be used is matched again, one that cannot be written is done without; both
        are said aloud.
        """
        ends = {"source": source.content_hash(), "target": target.content_hash()}
        identity = json.dumps({"format_version": FORMAT_VERSION, "settings": asdict(settings), **ends}, sort_keys=True)
        file = self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.safetensors"
        if file.is_file():
            try:
                return _load_fitting(file, ends, source.d_sae)
            except UserError as error:
                log.warning("%s; matching again", error)
        matching = match(source, target, **asdict(settings))
        try:
            matching.save(file)
        except UserError as error:
            log.warning("%s; the matching is not kept for the next run", error)
        return matching


def _load_fitting(file: Path, ends: dict[str, str], features: int) -> Matching:
    matching = Matching.load(file)
    if not ends.items() <= matching.provenance.items() or len(matching.permutation) != features:
        raise UserError(f"{file} is not a matching of these SAEs")
    return matching
