"""Neuronpedia's bulk export: the explanations of a whole source, downloaded once and kept."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree

import pyarrow as pa
from filelock import FileLock, Timeout

from sae_match.errors import UserError
from sae_match.files import remove_leftovers, written_whole
from sae_match.semantics.neuronpedia.explanations import Explanations, read_lines
from sae_match.semantics.neuronpedia.polite import PoliteClient, RefusedError

log = logging.getLogger(__name__)

#: Told what is being done, how much of it is done, and of how much.
Watch = Callable[[str, int, int], None]

#: A file of an export below the folder of its source; further folders hold those of other explaining models.
BATCH = re.compile(r"explanations(-[\w.-]+)?/[\w.-]+\.jsonl(\.gz)?", re.ASCII)
_FIRST_FOLDER = "explanations/batch-{}.jsonl.gz"
# What servers answer that cannot list, or do not let everybody; and some of these for files that are not there.
_NO_LISTING = (400, 401, 403, 404, 405, 501)
_NO_FILE = (403, 404)


class Export:
    """Explanations from a public bucket, kept in a folder.

    A batch is asked for once: each is kept as soon as it is read, and when all are there they become one small
    file. Processes that share the folder share the batches out; one that is interrupted loses the batch at hand.

    Args:
        client: Asks the server.
        address: Where the bucket is, as `https://…` or `s3://bucket`.
        folder: What is kept goes there.
    """

    def __init__(self, client: PoliteClient, address: str, folder: Path) -> None:
        self.client, self.folder = client, folder
        bucket = address.removeprefix("s3://")
        self.address = (f"https://{bucket}.s3.amazonaws.com" if bucket != address else address).rstrip("/")

    def explanations(self, model: str, source: str, watch: Watch) -> Explanations | None:
        """All explanations of a source, None where the export has none.

        Raises:
            UserError: If the server does not answer soundly or the folder cannot be written.
        """
        found = _Source(self, model, source)
        loaded = found.loaded()
        return found.fetched(watch) if loaded is None else loaded


class _Source:
    """The explanations of one source: on the server, in parts, whole."""

    def __init__(self, export: Export, model: str, source: str) -> None:
        self.client, self.model, self.name = export.client, model, source
        self.bucket, self.prefix = export.address, f"v1/{model}/{source}/"
        self.folder = export.folder / model / source
        self.whole, self.listed = self.folder / "explanations.parquet", self.folder / "batches.json"

    def loaded(self) -> Explanations | None:
        """All of them, if they are there."""
        return _load(self.whole)

    def fetched(self, watch: Watch) -> Explanations | None:
        """All of them, fetched as far as they are not there; None where the server has none."""
        batches = self._batches()
        if not batches:
            # Or another process has made the whole meanwhile.
            return self.loaded()
        parts: dict[str, Explanations] = {}
        # First whatever no other process is at, then what others have not finished.
        for patient in (False, True):
            for batch in [batch for batch in batches if batch not in parts]:
                part = self._part(batch, patient)
                if part is not None:
                    parts[batch] = part
                    watch(f"descriptions of {self.model}/{self.name}", len(parts), len(batches))
                elif (whole := self.loaded()) is not None:
                    return whole
        # Fewer only where another process made a whole that turned out to be damaged.
        return self._join(parts) if len(parts) == len(batches) else self.fetched(watch)

    def _join(self, parts: dict[str, Explanations]) -> Explanations:
        joined = Explanations.joined(list(parts.values()))
        with alone(self.listed):
            if not self.whole.is_file():
                joined.save(self.whole)
                # After that: who misses a part finds the whole.
                for file in (self.listed, *map(self._path, parts)):
                    file.unlink(missing_ok=True)
        return joined

    def _batches(self) -> list[str]:
        """Names of the files on the server, asked for once."""
        with alone(self.listed):
            if self.whole.is_file():
                return []
            if (kept := _kept_names(self.listed)) is not None:
                return kept
            batches = self._listed()
            if batches is None:
                batches = self._tried()
            if batches:
                with written_whole(self.listed) as temporary:
                    temporary.write_text(json.dumps(batches))
            return batches

    def _listed(self) -> list[str] | None:
        """As the bucket lists them; None where it lists nothing to anybody."""
        names: set[str] = set()
        query = {"list-type": "2", "prefix": f"{self.prefix}explanations"}
        tokens: list[str] = []
        while True:
            page = self.client.get(f"{self.bucket}/?{urlencode(query)}", _listing, _NO_LISTING)
            if page is None:
                return None
            keys, token = page
            names.update(key.removeprefix(self.prefix) for key in keys)
            if token is None:
                return sorted(name for name in names if BATCH.fullmatch(name))
            if token in tokens:
                raise UserError(f"{self.bucket} lists {self.prefix} in a circle: it gave the same token twice")
            tokens.append(token)
            query["continuation-token"] = token

    def _tried(self) -> list[str]:
        """As they are found by counting up, each being kept at once."""
        names: list[str] = []
        for number in count():
            name = _FIRST_FOLDER.format(number)
            if self._part(name, patient=True, absent=_NO_FILE) is None:
                return names
            names.append(name)
        return names

    def _part(self, batch: str, patient: bool, absent: tuple[int, ...] = ()) -> Explanations | None:
        """What a file holds; None where another process is at it or has made the whole, or it is absent."""
        path = self._path(batch)
        if (part := _load(path)) is not None:
            return part
        address = f"{self.bucket}/{self.prefix}{batch}"
        with alone(path, patient) as mine:
            if not mine:
                return None
            if (part := _load(path)) is not None or self.whole.is_file():
                return part
            remove_leftovers(path)
            try:
                part = self.client.get(address, lambda body: self._read(body, address), absent)
            except RefusedError as error:
                if error.status not in _NO_FILE:
                    raise
                raise UserError(f"{error}; it was listed: remove {self.listed} to list anew") from error
            if part is not None:
                part.save(path)
            return part

    def _read(self, body: bytes, address: str) -> Explanations:
        return Explanations(read_lines(io.BytesIO(body), address, self.model, self.name))

    def _path(self, batch: str) -> Path:
        return self.folder / "parts" / f"{batch.replace('/', '__')}.parquet"


def _listing(body: bytes) -> tuple[list[str], str | None] | None:
    """Keys on a page of an S3 listing, and what to ask the next page with; None where it is no such listing."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None
    texts = [(element.tag.rpartition("}")[2], element.text or "") for element in root.iter()]
    if texts[0][0] != "ListBucketResult":
        return None
    keys = [text for tag, text in texts if tag == "Key"]
    token = next((text for tag, text in texts if tag == "NextContinuationToken"), None)
    return keys, token or None


def _kept_names(file: Path) -> list[str] | None:
    """Names of batches that were kept; none where there are none, or they cannot be used."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    sound = isinstance(names, list) and all(isinstance(name, str) and BATCH.fullmatch(name) for name in names)
    return names if sound else None


def _load(file: Path) -> Explanations | None:
    """What was kept; None where there is nothing, or nothing sound, which is removed."""
    try:
        return Explanations.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        log.warning("%s cannot be used (%s); fetching it again", file, str(error).splitlines()[0])
        file.unlink(missing_ok=True)
        return None


@contextmanager
def alone(file: Path, patient: bool = True) -> Iterator[bool]:
    """Whether this process is alone at a file: it waits for others if it is patient, and goes without if not.

    The system takes the lock back from a process that dies.
    """
    path = file.with_name(f"{file.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise UserError(f"cannot write {path.parent}: {error.strerror or error}; set descriptions.cache_dir") from error
    try:
        yield True
    finally:
        # Removed while it is held: whoever waits for it opens it anew only after looking for the result.
        path.unlink(missing_ok=True)
        lock.release()
