"""What a language model is, by its config and its file list: nothing else is downloaded but files' headers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from huggingface_hub import HfApi, try_to_load_from_cache

from sae_match.errors import UserError, shown
from sae_match.hub import UnansweredError, hub_errors
from sae_match.model.headers import sizes_in_files
from sae_match.model.settings import ModelSettings, refuse_unknown_dtype
from sae_match.model.sizes import ModelSizes, settings_in, small_file
from sae_match.saes.formats.shared.reading import read_json

_WEIGHTS = (".safetensors", ".bin")
# The files that a model is loaded from, where others lie beside them; the first pattern that some match counts.
_LOADED = (r"(?:model|pytorch_model)\.\w+", r"(?:model|pytorch_model)-\d+-of-\d+\.\w+")

_TOKENIZER = "tokenizer_config.json"
_PART = re.compile(r"-\d+-of-(\d+)\.")


# Added tokens that are named.
_NAMED = 3


@dataclass(frozen=True)
class ModelDescription(ModelSizes):
    """What a language model is, and takes.

    Attributes:
        bytes_per_parameter: In the dtype that it is loaded in.
        has_bos: False if its tokenizer says that it has no BOS token; none where that is not known.
        files: Weight files and their bytes.
        missing: Bytes of them that are still to be downloaded.
    """

    bytes_per_parameter: int
    has_bos: bool | None
    files: dict[str, int]
    missing: int

    @property
    def bytes(self) -> int:
        """Memory of the loaded model."""
        return self.parameters * self.bytes_per_parameter


def describe_model(settings: ModelSettings) -> ModelDescription:
    """What the model that the settings name is.

    Raises:
        UserError: If there is no such model, it may not be read, or it is built in a way that is not
            supported.
    """
    refuse_unknown_dtype(settings.dtype)
    files, missing, commit = _weight_files(settings)
    return ModelDescription(
        **vars(sizes_in_files(settings, list(files), commit) or _sizes_by_class(settings)),
        bytes_per_parameter=getattr(torch, settings.dtype).itemsize,
        has_bos=_has_bos(settings),
        files=files,
        missing=missing,
    )


def refuse_beyond(positions: int | None, tokens: int) -> None:
    """Check that documents are not longer than a model's positions, where it says how many it has.

    Raises:
        UserError: If they may be.
    """
    if positions is not None and tokens > positions:
        raise UserError(f"text.max_tokens={tokens} is more than the model's {positions} positions; lower it")


def _sizes_by_class(settings: ModelSettings) -> ModelSizes:
    # Imported when it is needed: it brings in transformers, which takes seconds, and most models do without.
    sizes: ModelSizes = import_module("sae_match.model.by_class").sizes_by_class(settings)
    return sizes


def _has_bos(settings: ModelSettings) -> bool | None:
    """Whether the tokenizer has a BOS token, where its small config says so: kinds with a default leave it out."""
    file = small_file(settings, _TOKENIZER)
    said = {} if file is None else read_json(file)
    return said["bos_token"] is not None if "bos_token" in said else None


@dataclass(frozen=True)
class AddedToken:
    """A token that a tokenizer's files have added to the vocabulary.

    Attributes:
        text: What it is the token of.
        number: Its id.
        is_special: Whether it is found in no text, whatever stands there.
    """

    text: str
    number: int
    is_special: bool


def first_token(settings: ModelSettings, bos: str | None) -> AddedToken | None:
    """The token that documents begin with, if it was added to the vocabulary by the tokenizer's files.

    Args:
        settings: Of the model.
        bos: The token's name; the tokenizer's own where none is given.

    Raises:
        UserError: If the hub cannot be reached or refuses.
    """
    name = bos or settings_in(small_file(settings, _TOKENIZER)).get("bos_token")
    name = name.get("content") if isinstance(name, dict) else name
    return next((token for token in added_tokens(settings) if token.text == name), None)


def added_tokens(settings: ModelSettings) -> list[AddedToken]:
    """The tokens that were added to the vocabulary, as far as files say that are small or on this machine.

    Raises:
        UserError: If the hub cannot be reached or refuses.
    """
    decoder = settings_in(small_file(settings, _TOKENIZER)).get("added_tokens_decoder")
    listed = [(token, number) for number, token in decoder.items()] if isinstance(decoder, dict) else []
    # Of a repository it is not fetched for this: it is no small file.
    whole = Path(settings.location) / "tokenizer.json"
    added = settings_in(whole if whole.is_file() else None).get("added_tokens")
    listed += (
        [(token, token.get("id")) for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    )
    found: dict[str, AddedToken] = {}
    for token, number in listed:
        text = token.get("content") if isinstance(token, dict) else None
        if isinstance(text, str) and str(number).isdecimal():
            found.setdefault(text, AddedToken(text, int(number), token.get("special") is True))
    return list(found.values())


def knows_token(settings: ModelSettings, name: str) -> bool | None:
    """Whether a token is in the vocabulary; none where the files on this machine do not say.

    Raises:
        UserError: If the hub cannot be reached or refuses.
    """
    whole = Path(settings.location) / "tokenizer.json"
    model = settings_in(whole if whole.is_file() else None).get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):
        # Of some kinds it is a list of tokens, each with its score.
        vocabulary = {entry[0] for entry in vocabulary if isinstance(entry, list) and entry}
    if not isinstance(vocabulary, dict | set):
        return None
    return name in vocabulary or any(token.text == name for token in added_tokens(settings))


def token_troubles(settings: ModelSettings, rows: int, bos: str | None) -> tuple[list[str], list[str]]:
    """What a tokenizer has that its model does not know, or lacks: what stands in the way, and what may.

    Args:
        settings: Of the model.
        rows: Of its embedding matrix.
        bos: Token that stands for BOS, where one is named.

    Raises:
        UserError: If the hub cannot be reached or refuses.
    """
    missing, warned = [], []
    if bos is not None and knows_token(settings, bos) is False:
        missing.append(f"the tokenizer has no token {shown(bos)}; name another text.bos")
    if (token := first_token(settings, bos)) is not None and token.number >= rows:
        missing.append(
            f"token {token.text!r}, which documents begin with, has the id {token.number}, and the model's "
            f"embedding matrix has {rows} rows; name another text.bos"
        )
    # Special ones are found in no text; the others where it holds them, which is not known before it is read.
    beyond = [token for token in added_tokens(settings) if token.number >= rows and not token.is_special]
    if beyond:
        tokens = ", ".join(f"{token.text!r} (id {token.number})" for token in beyond[:_NAMED])
        more = f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
        warned.append(
            f"The tokenizer has {len(beyond):,} added token{'s' * (len(beyond) != 1)} beyond the {rows} rows of the "
            f"model's embedding matrix: {tokens}{more}. Text that holds one of them is refused; resize the model, or "
            "take its own tokenizer."
        )
    return missing, warned


def _weight_files(settings: ModelSettings) -> tuple[dict[str, int], int, str | None]:
    """Bytes of each weight file, how many of all are not on this machine, and the commit of a repository."""
    folder = Path(settings.location)
    if folder.is_dir():
        return _weights_in(folder), 0, None
    try:
        with hub_errors(settings.source):
            info = HfApi().model_info(settings.source, revision=settings.revision, files_metadata=True)
    except UnansweredError:
        # A run needs no hub where all is in its cache.
        if (cached := _cached_snapshot(settings)) is None:
            raise
        return _weights_in(cached), 0, cached.name
    sizes = _weights_among({file.rfilename: file.size or 0 for file in info.siblings or []}, settings.source)
    absent = [name for name in sizes if try_to_load_from_cache(settings.source, name, revision=info.sha) is None]
    return sizes, sum(sizes[name] for name in absent), info.sha


def _cached_snapshot(settings: ModelSettings) -> Path | None:
    """The folder of the hub's cache with all of a repository's weights, named by its commit; none if any lack."""
    config = try_to_load_from_cache(settings.source, "config.json", revision=settings.revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        present = _weights_in(folder).keys()
        indices = [read_json(file) for file in folder.glob("*.index.json")]
        wanted = [set(index["weight_map"].values()) for index in indices]
    except (UserError, KeyError, TypeError, AttributeError):
        return None
    if not wanted:
        # Parts say of how many they are.
        totals = {int(part[1]) for name in present if (part := _PART.search(name))}
        return folder if not totals or totals == {len(present)} else None
    return folder if any(names <= present for names in wanted) else None


def _weights_in(folder: Path) -> dict[str, int]:
    return _weights_among({file.name: file.stat().st_size for file in folder.iterdir()}, str(folder))


def _weights_among(files: dict[str, int], where: str) -> dict[str, int]:
    """The files that hold the weights, of the best kind that there is."""
    for suffix in _WEIGHTS:
        names = sorted(name for name in files if name.endswith(suffix) and "/" not in name)
        if names:
            return {name: files[name] for name in _loaded(names)}
    raise UserError(f"{where} holds no weights ({' or '.join(f'*{suffix}' for suffix in _WEIGHTS)})")


def _loaded(names: list[str]) -> Iterable[str]:
    """Of weight files those that are loaded; all where none has a usual name."""
    several = ([name for name in names if re.fullmatch(pattern, name)] for pattern in _LOADED)
    return next(filter(None, several), names)
