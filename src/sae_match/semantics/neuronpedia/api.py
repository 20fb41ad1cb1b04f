"""Where Neuronpedia's explanations are asked for: its API, its export, or a folder with files of the export."""

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from sae_match.addresses import is_at, key_for
from sae_match.errors import UserError
from sae_match.files import remove_leftovers, written_whole
from sae_match.semantics.neuronpedia.explanations import (
    Explanation,
    Explanations,
    described,
    json_object,
    kept_explanation,
    read_feature,
    read_lines,
)
from sae_match.semantics.neuronpedia.export import BATCH, Export, Watch, alone
from sae_match.semantics.neuronpedia.pace import Pace
from sae_match.semantics.neuronpedia.polite import Manners, PoliteClient, RefusedError

log = logging.getLogger(__name__)

#: Environment variable with the key that Neuronpedia's own API is asked with; most questions need none.
KEY = "NEURONPEDIA_API_KEY"
_HOST = "neuronpedia.org"
# Features in a row of which the API knows nothing, before this is said aloud.
_SUSPICIOUS = 20
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)


def checked_name(kind: str, name: str) -> str:
    """The name of a model or a source on Neuronpedia.

    Raises:
        UserError: If it can be none: it becomes part of addresses and paths.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no {kind} of Neuronpedia: letters, digits, '.', '-' and '_' make its name")
    return name


class FromAPI:
    """Explanations of one source by single questions, each answer kept at once.

    Args:
        client: Asks the API.
        address: Of Neuronpedia.
        folder: What is kept goes there, a file for each feature.
        model: Name of the model on Neuronpedia.
        source: Name of the source.
    """

    def __init__(self, client: PoliteClient, address: str, folder: Path, model: str, source: str) -> None:
        self.client, self.folder = client, folder / model / source
        self.address = f"{address.rstrip('/')}/api/feature/{model}/{source}"
        self._asked: dict[int, list[Explanation]] = {}
        self._missed = 0

    def of(self, feature: int) -> list[Explanation]:
        """The explanations of a feature; none where it has none, or is no feature of the source.

        Raises:
            UserError: If the server does not answer soundly, or refuses.
        """
        if feature not in self._asked:
            self._asked[feature] = self._kept_or_fetched(feature)
        return self._asked[feature]

    def asked(self, feature: int) -> list[Explanation] | None:
        """As `of`, but for features that this object was not asked for, of which nothing is known: None."""
        return self._asked.get(feature)

    def _kept_or_fetched(self, feature: int) -> list[Explanation]:
        file = self.folder / f"{feature}.json"
        if (kept := _kept(file)) is not None:
            return kept
        with alone(file):
            # Another process may have asked while this one waited.
            if (kept := _kept(file)) is not None:
                return kept
            remove_leftovers(file)
            found = self._fetched(feature)
            with written_whole(file) as temporary:
                temporary.write_text(json.dumps({"explanations": [asdict(row) for row in found]}))
        return found

    def _fetched(self, feature: int) -> list[Explanation]:
        address = f"{self.address}/{feature}"
        try:
            rows = self.client.get(address, lambda body: read_feature(body, address, feature)) or []
        except RefusedError as error:
            if error.status not in (401, 403):
                raise
            remedy = self.client.key.remedy("descriptions.key_variable")
            raise UserError(f"{error}: {remedy}; keys are on the page of your account there") from error
        # It is shown and kept, so that a server that repeats the key must not bring it in.
        found = [Explanation(**self.client.key.withheld(asdict(row))) for row in rows]
        self._missed = 0 if found else self._missed + 1
        if self._missed == _SUSPICIOUS:
            log.warning(
                "%s: no explanation of %d features in a row; is it in sae.neuronpedia?", self.address, _SUSPICIOUS
            )
        return found


class FromBoth:
    """Explanations of one source from the export and, of features that it does not describe, from the API.

    Args:
        whole: All that the export has.
        single: Asks for single features.
    """

    def __init__(self, whole: Explanations, single: FromAPI) -> None:
        self.whole, self.single = whole, single

    def of(self, feature: int) -> list[Explanation]:
        """The explanations of a feature; none where it has none.

        Raises:
            UserError: If the server does not answer soundly, or refuses.
        """
        found = self.whole.of(feature)
        return self.single.of(feature) if described(found) is None else found


#: The explanations of one SAE's features, whichever way they come.
Source = Explanations | FromAPI | FromBoth


def may_describe(source: Source, feature: int) -> bool:
    """Whether a feature has a description, as far as that can be said without asking the API."""
    if isinstance(source, FromBoth):
        return may_describe(source.whole, feature) or may_describe(source.single, feature)
    found = source.asked(feature) if isinstance(source, FromAPI) else source.of(feature)
    return found is None or described(found) is not None


def from_export(export: Export, model: str, source: str, watch: Watch) -> Explanations:
    """Explanations of a source from the export.

    Raises:
        UserError: If it has none, or they cannot be had.
    """
    found = export.explanations(model, source, watch)
    if found is None:
        raise UserError(
            f"no explanations of {model}/{source} in the export at {export.address}: check sae.neuronpedia, "
            "or ask for single features with descriptions.mode=api"
        )
    return found


def from_folder(folder: Path, model: str, source: str) -> Explanations:
    """Explanations of a source from a folder that holds files of the export, `v1` being left out or not.

    Raises:
        UserError: If it has none of that source, or a file is not sound.
    """
    places = [folder / "v1" / model / source, folder / model / source]
    files = [(place, file) for place in places for file in sorted(place.glob("explanations*/*"))]
    batches = [file for place, file in files if BATCH.fullmatch(file.relative_to(place).as_posix())]
    if not batches:
        expected = f"{model}/{source}/explanations/batch-0.jsonl.gz"
        raise UserError(f"no explanations of {model}/{source} in {folder}: there should be {expected}, and so on")
    return Explanations.joined([_from_file(file, model, source) for file in batches])


def api_client(
    cache: Path, address: str, manners: Manners, requests_per_hour: float, key_variable: str | None = None
) -> PoliteClient:
    """What asks Neuronpedia's API, with the user's key if there is one.

    Args:
        cache: Folder with what servers have told.
        address: Of the API.
        manners: How patiently it is asked.
        requests_per_hour: Most questions an hour.
        key_variable: Environment variable that holds the key; if none is given, that of Neuronpedia's own server where
            it is the one that is asked, and no key for any other.

    Raises:
        UserError: If what is given as a key can be none, or must not go to that address.
    """
    variable = key_variable or (KEY if is_at(address, _HOST) else None)
    key = key_for(address, "descriptions.api", variable)
    return PoliteClient(manners, Pace(cache / host_of(address) / "pace", requests_per_hour), key)


def host_of(address: str) -> str:
    """A name for a folder with what a server has told.

    Raises:
        UserError: If that is no address.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "s3") or not parts.netloc:
        raise UserError(f"{address!r} is no address: it should begin with https://")
    return re.sub(r"[^\w.-]", "_", f"{parts.netloc}{parts.path.rstrip('/')}", flags=re.ASCII)


def _from_file(file: Path, model: str, source: str) -> Explanations:
    try:
        with file.open("rb") as stream:
            return Explanations(read_lines(stream, str(file), model, source))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error


def _kept(file: Path) -> list[Explanation] | None:
    """An answer that was kept; None where there is none, or it cannot be used."""
    try:
        rows = json_object(file.read_bytes(), str(file))["explanations"]
        return [kept_explanation(row) for row in rows]
    except FileNotFoundError:
        return None
    except (OSError, UserError, KeyError, TypeError) as error:
        log.warning("%s cannot be used (%s); asking again", file, error)
        return None
