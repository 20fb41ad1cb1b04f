"""What the features of a collection's SAEs mean, in words."""

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import platformdirs

from sae_match.errors import UserError
from sae_match.saes.two import Collections
from sae_match.semantics.neuronpedia.api import (
    FromAPI,
    FromBoth,
    Source,
    api_client,
    checked_name,
    from_export,
    from_folder,
    host_of,
    may_describe,
)
from sae_match.semantics.neuronpedia.explanations import Explanations, described
from sae_match.semantics.neuronpedia.export import Export, Watch
from sae_match.semantics.neuronpedia.polite import Manners, PoliteClient
from sae_match.semantics.settings import DescriptionSettings, refuse_impossible_descriptions

log = logging.getLogger(__name__)


class Descriptions:
    """Descriptions of features by layer, each layer's looked for when it is first asked for.

    Args:
        names: Of layers whose features have pages on Neuronpedia, the names of the model and the source there.
        open_source: Where the explanations of a model's source come from.
        prefer: What is preferred where a feature has several; see `explanations.described`.
        site: Address of the pages.
    """

    def __init__(
        self,
        names: Mapping[int, tuple[str, str]],
        open_source: Callable[[str, str, Watch], Source],
        prefer: Collection[str] = (),
        site: str = DescriptionSettings.api,
    ) -> None:
        self.names = {
            layer: (checked_name("model", model), checked_name("source", source))
            for layer, (model, source) in sorted(names.items())
        }
        self._open, self._prefer, self._site = open_source, tuple(prefer), site.rstrip("/")
        self._sources: dict[int, Source] = {}

    def of(self, layer: int, feature: int) -> str | None:
        """The description of a feature; None where it has none, or its layer is not described.

        Raises:
            UserError: If descriptions of the layer should be there and cannot be had.
        """
        return self._described(layer, feature, _unwatched)

    def known(self, layer: int, features: int) -> list[bool]:
        """Of each feature of a layer, whether it has a description, or may have one that was not asked for yet.

        The API is not asked. Nor is it looked up what it told earlier runs: a run that goes on where another was
        interrupted has to draw the same features.

        Raises:
            UserError: If descriptions of the layer should be there and cannot be had.
        """
        source = self._source(layer, _unwatched)
        return [source is not None and may_describe(source, feature) for feature in range(features)]

    def link(self, layer: int, feature: int) -> str | None:
        """Address of a feature's page, whether or not it is described; None where its layer has no pages."""
        if layer not in self.names or feature < 0:
            return None
        return "/".join((self._site, *self.names[layer], str(feature)))

    def fetch(self, wanted: Mapping[int, Collection[int]], watch: Watch | None = None) -> None:
        """Have the descriptions of features at hand, so that `of` need not wait for them.

        Args:
            wanted: Features of each layer; where bulk files are read, all of its features come.
            watch: Told what is being fetched, how much of it is done, and of how much.

        Raises:
            UserError: If descriptions of a layer should be there and cannot be had.
        """
        watch = watch or _unwatched
        for layer, features in sorted(wanted.items()):
            source = self._source(layer, watch)
            if source is None or isinstance(source, Explanations):
                continue
            for done, feature in enumerate(sorted(features), start=1):
                self._described(layer, feature, watch)
                watch("descriptions of {}/{}".format(*self.names[layer]), done, len(features))

    def _described(self, layer: int, feature: int, watch: Watch) -> str | None:
        source = self._source(layer, watch)
        return None if source is None or feature < 0 else described(source.of(feature), self._prefer)

    def _source(self, layer: int, watch: Watch) -> Source | None:
        if layer not in self._sources and layer in self.names:
            self._sources[layer] = self._open(*self.names[layer], watch)
        return self._sources.get(layer)


def open_descriptions(settings: DescriptionSettings, collection: Collections) -> Descriptions | None:
    """Descriptions of a collection's features; None where none are wanted, or it does not say whose they are.

    Nothing is asked for yet.

    Raises:
        UserError: If a setting is not sound.
    """
    refuse_impossible_descriptions(settings)
    if settings.mode == "none":
        return None
    if not collection.neuronpedia:
        if settings.folder is not None:
            raise UserError(f"whose descriptions are in {settings.folder}? sae.neuronpedia names no model and source")
        return None
    return Descriptions(collection.neuronpedia, _opener(settings), settings.prefer, settings.api)


def open_pages(settings: DescriptionSettings, collection: Collections) -> Descriptions | None:
    """As `open_descriptions`, but where no descriptions are wanted, there are links to their pages all the same."""
    if settings.mode == "none" and collection.neuronpedia:
        return Descriptions(collection.neuronpedia, lambda *_: Explanations(), (), settings.api)
    return open_descriptions(settings, collection)


def _opener(settings: DescriptionSettings) -> Callable[[str, str, Watch], Source]:
    if settings.folder is not None:
        folder = Path(settings.folder).expanduser()
        if not folder.is_dir():
            raise UserError(f"descriptions.folder={settings.folder} is no folder")
        return lambda model, source, _: from_folder(folder, model, source)
    cache = _cache(settings)
    manners = Manners(settings.timeout, settings.tries, settings.back_off)
    export = Export(PoliteClient(manners), settings.export, cache / host_of(settings.export))
    api = api_client(cache, settings.api, manners, settings.requests_per_hour, settings.key_variable)
    kept = cache / host_of(settings.api)

    def opened(model: str, source: str, watch: Watch) -> Source:
        if settings.mode == "export":
            return from_export(export, model, source, watch)
        single = FromAPI(api, settings.api, kept, model, source)
        if settings.mode == "api":
            return single
        found = export.explanations(model, source, watch)
        if found is None:
            log.warning("no explanations of %s/%s in the export; asking for single features", model, source)
            return single
        return FromBoth(found, single) if settings.mode == "both" else found

    return opened


def _cache(settings: DescriptionSettings) -> Path:
    if settings.cache_dir is not None:
        return Path(settings.cache_dir).expanduser() / "neuronpedia"
    return Path(platformdirs.user_cache_dir("sae-match")) / "neuronpedia"


def _unwatched(what: str, done: int, total: int) -> None:
    del what, done, total
