"""Matchings found again on disk by what they are matchings of."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from sae_match.errors import UserError
from sae_match.files import make_writable, remove_leftovers
from sae_match.matching.matching import arguments_of, match
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.solver.planning import refuse_unknown_means
from sae_match.matching.solver.solving import Watch
from sae_match.matching.solver.starting import Prices
from sae_match.matching.tensor_files import FORMAT_VERSION
from sae_match.saes.sae import SAE

log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where matchings are cached unless told otherwise: the user's cache folder of this system."""
    return Path(platformdirs.user_cache_dir("sae-match")) / "matchings"


class MatchingCache:
    """Matchings in a folder, one file for each pair of SAEs and settings.

    Processes that want the same matching find it once: one solves, the others wait. A solution that
    was interrupted goes on from its last finished round.

    Args:
        folder: Made when the first matching is written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def match(
        self,
        source: SAE,
        target: SAE,
        settings: MatcherSettings,
        *,
        watch: Watch = lambda _: None,
        prices: Prices | None = None,
    ) -> Matching:
        """`match` under `settings`, or what it found before for SAEs of the same content.

        A file that cannot be used is matched again, one that cannot be written is done without; both
        are said aloud.
        """
        # Also where nothing is left to solve: a typing error must not depend on what was solved before.
        refuse_unknown_means(settings.solver, settings.precision, settings.memory)
        ends = {"source": source.content_hash(), "target": target.content_hash()}
        identity = json.dumps(
            {"format_version": FORMAT_VERSION, "settings": settings.identity(), **ends}, sort_keys=True
        )
        file = self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.safetensors"
        found = _found(file, ends, source.d_sae, settings.tolerance)
        if found is not None:
            return found
        given = arguments_of(settings, source, target)
        try:
            make_writable(self.folder)
        except OSError as error:
            log.warning("cannot write %s: %s; the matching is not kept for the next run", self.folder, error)
            return match(source, target, **given, watch=watch, prices=prices)
        with _alone(file.with_suffix(".lock")):
            # Another process may have found it while this one waited.
            found = _found(file, ends, source.d_sae, settings.tolerance) if file.is_file() else None
            if found is None:
                for killed in (file, file.with_suffix(".unfinished")):
                    with suppress(OSError):
                        remove_leftovers(killed)
                checkpoint = file.with_suffix(".unfinished")
                found = match(source, target, **given, watch=watch, checkpoint=checkpoint, prices=prices)
                # What could not be proven another solver, or another memory budget, may prove.
                if _is_proven(found, settings.tolerance):
                    _keep(found, file)
        return found


def _found(file: Path, ends: dict[str, str], features: int, tolerance: float) -> Matching | None:
    if not file.is_file():
        return None
    try:
        matching = Matching.load(file, sealed=True)
        if not ends.items() <= matching.provenance.items() or len(matching.permutation) != features:
            raise UserError(f"{file} is not a matching of these SAEs")
        if not _is_proven(matching, tolerance):
            raise UserError(f"{file} is proven to {matching.gap:.1e} only, not to {tolerance:.1e}")
    except UserError as error:
        log.warning("%s; matching again", error)
        return None
    log.debug("found in the cache: %s", file.name)
    return matching


def _is_proven(matching: Matching, tolerance: float) -> bool:
    said = matching.evidence is not None and matching.evidence.proven
    return bool(said) or matching.gap <= tolerance


def _keep(matching: Matching, file: Path) -> None:
    try:
        matching.save(file)
    except UserError as error:
        log.warning("%s; the matching is not kept for the next run", error)


@cache
def _say_who_is_waited_for() -> None:
    """Once a process: processes that share their pairs wait for each other at most of them."""
    log.info("another process is matching some of these pairs; what it finds is waited for")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock that the system takes back from a process that dies."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say_who_is_waited_for()
        lock.acquire()
    try:
        yield
    finally:
        # Removed while it is held: whoever waits for it opens it anew only after looking for the result.
        file.unlink(missing_ok=True)
        lock.release()
