"""WikiText stores a line a row; documents are its articles."""

import re
from collections.abc import Iterable, Iterator

# ` = Title = ` opens an article, ` = = Section = = ` one of its sections.
_TITLE = re.compile(r" = (?!= ).*(?<! =) = ?\n?")


def join_articles(lines: Iterable[str]) -> Iterator[str]:
    """Join lines into articles: a title after a blank line, or at the start, opens one.

    Args:
        lines: Rows as stored, with or without their line ends; blank ones separate paragraphs.
    """
    article: list[str] = []
    after_blank = True
    for line in lines:
        if after_blank and _TITLE.fullmatch(line) and any(text.strip() for text in article):
            yield "".join(article)
            article = []
        article.append(line if line.endswith("\n") else f"{line}\n")
        after_blank = not line.strip()
    if any(text.strip() for text in article):
        yield "".join(article)
