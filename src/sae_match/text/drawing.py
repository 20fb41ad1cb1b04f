"""Which documents are taken, and in what order."""

import random
from collections.abc import Iterator, Sequence

from datasets import IterableDataset
from datasets.iterable_dataset import ExamplesIterable

from sae_match.text.describing import source_files
from sae_match.text.documents import Document, Part, cut_into_passages, part_of
from sae_match.text.files import TextFile
from sae_match.text.settings import PACKAGED, SourceSettings, passage_length, refuse_impossible_source
from sae_match.text.sources import open_source, read_works


def works_of_part(source: SourceSettings, part: Part) -> Iterator[Document]:
    """Whole works, or rows, of a part in stored order, read as they are asked for.

    Raises:
        UserError: As `open_source`.
    """
    return _in_part(open_source(source), source, part)


def in_seeded_order(source: SourceSettings, part: Part, seed: int) -> Iterator[Document]:
    """Documents of a part in an order that follows from the seed; reading stops when nobody asks for more.

    To which part a document belongs follows from a hash of its own name alone. The documents of works
    that come with packages are shuffled all at once. Everything else is a stream: its files are put in
    seeded order, up to ten of them are read side by side, and their documents leave a buffer of
    `source.buffer` of them at random. A source with no more documents than that is shuffled all at once
    too. The order is that of one version of the package `datasets`, whose `shuffle` this is.

    Raises:
        UserError: If there is no such source, or a file cannot be read.
    """
    if source.kind in PACKAGED:
        documents = list(_documents(works_of_part(source, part), source))
        random.Random(seed).shuffle(documents)
        return iter(documents)
    refuse_impossible_source(source)
    _, files = source_files(source)
    stream = IterableDataset(ExamplesIterable(_examples, {"files": files, "source": source, "part": part}))
    # Nothing below zero is a seed there.
    shuffled = stream.shuffle(seed=seed % 2**64, buffer_size=source.buffer)
    return (Document(**example) for example in shuffled)


def _examples(files: Sequence[TextFile], source: SourceSettings, part: Part) -> Iterator[tuple[int, dict[str, str]]]:
    """Documents of some files, numbered, in the form that `datasets` streams."""
    works = _in_part(read_works(files, source), source, part)
    for number, document in enumerate(_documents(works, source)):
        yield number, {"id": document.id, "group": document.group, "text": document.text}


def _in_part(works: Iterator[Document], source: SourceSettings, part: Part) -> Iterator[Document]:
    return (work for work in works if source.whole or part_of(work.group) == part)


def _documents(works: Iterator[Document], source: SourceSettings) -> Iterator[Document]:
    length = passage_length(source)
    for work in works:
        if length:
            yield from cut_into_passages(work, length)
        else:
            yield work
