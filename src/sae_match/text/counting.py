"""Whether there are as many documents as are wanted, found out by reading the first ones: no model, no shuffling."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from sae_match.errors import UserError
from sae_match.text.documents import Document, Part, cut_into_passages, part_of
from sae_match.text.settings import SourceSettings, TextSettings, passage_length
from sae_match.text.sources import open_source

# What sets how many documents of a part are taken.
_SETTINGS: Mapping[Part, str] = {"evaluation": "text.documents", "fitting": "evaluation.fitting_documents"}
#: Characters of a document that are looked at, for each token that is wanted: no token spans more, but for rare runs of
#: one character, and a generous prefix bounds the work.
CHARACTERS = 32

#: Number of tokens of a text, without BOS.
Counter = Callable[[str], int]


@contextmanager
def naming(dataset: str) -> Iterator[None]:
    """What a source says of its settings is said of this dataset's."""
    try:
        yield
    except UserError as error:
        raise type(error)(str(error).replace("text.datasets.NAME.", f"text.datasets.{dataset}.")) from error


def too_few(dataset: str, source: SourceSettings, settings: TextSettings, part: Part, found: int, seen: int) -> str:
    """What is said where a dataset has fewer documents than are wanted, and what would help.

    Args:
        dataset: Its name.
        source: Where it comes from.
        settings: Of the text; `documents` are those that are wanted of this part.
        part: Of the split.
        found: Documents that are long enough; with packing, rows.
        seen: Documents of the part.
    """
    setting = _SETTINGS.get(part, "text.documents")
    unit = f"rows of {settings.max_tokens} tokens from documents" if settings.packing else "documents"
    counted = "" if source.whole else f" of the {part} part"
    ways = [f"lower {setting} to {found}"] if found else []
    # Of undivided text, those that are measured on are passed over too.
    if settings.packing or (seen > found and not (source.whole and part == "fitting")):
        ways.append(f"lower text.{'max' if settings.packing else 'min'}_tokens")
    if not source.whole:
        ways.append(
            f"set text.datasets.{dataset}.whole=true, if nothing was trained on this text, to divide none of it"
        )
    if seen and passage_length(source):
        ways.append(f"lower text.datasets.{dataset}.passage, for more and shorter documents")
    return (
        f"dataset {dataset!r}: {settings.documents} {unit} of at least {settings.min_tokens} tokens wanted, "
        f"{found} found in {seen} documents{counted} ({setting}); {', or '.join(ways or ['give more text'])}"
    )


def token_counter(folder: Path) -> Counter | None:
    """What counts tokens as the tokenizer of a model's folder does; none where its file is not there."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    # Imported here: a program that counts nothing needs none of it.
    tokenizers = import_module("tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:
        # The library raises `Exception` itself over a damaged file, and no narrower clause names that; errors of any
        # other kind pass. What is wrong with the file is said where the model is opened.
        if type(error) is not Exception:
            raise
        return None
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def most_tokens(text: str) -> int:
    """More tokens than any tokenizer makes of a text: one a byte."""
    return len(text.encode("utf-8", errors="replace"))


def first_documents(
    dataset: str, source: SourceSettings, settings: TextSettings, fitting: int, count: Counter | None
) -> str:
    """Read documents of a source on this machine until there are as many as are wanted, or no more.

    Args:
        dataset: Its name.
        source: Where it comes from.
        settings: Of the text.
        fitting: Documents that are wanted to fit arms on.
        count: Counts tokens; none: documents count that may be long enough.

    Returns:
        What was found, for people.

    Raises:
        UserError: If there are too few, or a file cannot be read.
    """
    wanted: dict[Part, int] = {"evaluation": settings.documents, **({"fitting": fitting} if fitting else {})}
    # Rows begin with BOS, whatever they go on with: never fewer are promised than there are.
    room = settings.max_tokens - 1 if settings.packing else 1
    # All parts of undivided text draw from the same works.
    parts: dict[Part, int] = {"evaluation": settings.documents + fitting} if source.whole else wanted
    lengths = dict.fromkeys(parts, 0)
    seen = dict.fromkeys(parts, 0)
    for part, document in _documents(dataset, source, parts):
        if lengths[part] >= parts[part] * room:
            if all(lengths[other] >= parts[other] * room for other in parts):
                break
            continue
        seen[part] += 1
        text = document.text[: CHARACTERS * settings.max_tokens]
        tokens = min(settings.max_tokens, 1 + (most_tokens if count is None else count)(text))
        if tokens >= settings.min_tokens:
            lengths[part] += tokens if settings.packing else 1
    else:
        for part, number in parts.items():
            if (found := lengths[part] // room) < number:
                raise UserError(_lack(dataset, source, settings, wanted, part, found, seen[part]))
    least = "" if count is not None else " that may be long enough"
    unit = "rows" if settings.packing else "documents"
    to_fit = f" and {fitting:,} to fit on" if fitting else ""
    return f"read as far as {settings.documents:,} {unit}{least} to measure on{to_fit}"


def _lack(
    dataset: str,
    source: SourceSettings,
    settings: TextSettings,
    wanted: Mapping[Part, int],
    part: Part,
    found: int,
    seen: int,
) -> str:
    """What is said of a part that lacks documents; of undivided text the evaluated ones are drawn first."""
    if source.whole and found >= wanted["evaluation"]:
        part, found = "fitting", found - wanted["evaluation"]
    return too_few(dataset, source, replace(settings, documents=wanted[part]), part, found, seen)


def _documents(dataset: str, source: SourceSettings, parts: Mapping[Part, int]) -> Iterator[tuple[Part, Document]]:
    """Documents of some parts in stored order."""
    length = passage_length(source)
    with naming(dataset):
        for work in open_source(source):
            part: Part = "evaluation" if source.whole else part_of(work.group)
            if part in parts:
                for document in cut_into_passages(work, length) if length else (work,):
                    yield part, document
