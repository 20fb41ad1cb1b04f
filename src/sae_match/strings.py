"""Strings that users and files bring, made safe for each place where they are shown; and what may be a name."""

import re

from sae_match.errors import UserError

#: Strings longer than this are cut where people read them.
LONGEST = 200
# Controls but for tab and line feed, marks that turn the direction of what follows, and halves of characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_MARKDOWN = re.compile(r"([\\|<>&`*\[\]~$]|(?<![^\W_])_|_(?![^\W_])|^#|^[+-](?= ))")
# A spreadsheet takes a cell that begins like this for a formula, where no apostrophe stands before it.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
# Letters and digits of any script first, so that no name climbs out of a folder, hides, or is an option.
_NAME = re.compile(r"[^\W_][\w.,=+ -]{0,99}")


def escaped(character: str) -> str:
    r"""A character by its number, as in Python: `\x1b`, `\u4e2d`, `\U0001f600`."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def visible(text: object) -> str:
    """A text in which nothing acts and everything can be written: what is no character to see stands by its number."""
    return _UNSEEN.sub(lambda found: escaped(found[0]), str(text))


def in_a_line(text: object, most: int | None = None) -> str:
    """As `visible`, in one line, and cut after so many characters."""
    line = " ".join(visible(text).split())
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def reason_of(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return in_a_line(next(iter(str(error).splitlines()), ""), 1000) or type(error).__name__


def markdown_text(text: object, most: int | None = LONGEST) -> str:
    """A text as a part of a line of Markdown, or as a cell of one of its tables: none of it is markup.

    Args:
        text: The text.
        most: Characters after which it is cut; none for never.
    """
    return _MARKDOWN.sub(r"\\\1", in_a_line(text, most))


def csv_cell(value: object) -> object:
    """A value as a cell of a CSV file: of a text that a spreadsheet would compute, an apostrophe stands first."""
    if not isinstance(value, str):
        return value
    seen = visible(value)
    return f"'{seen}" if _FORMULA.match(seen) else seen


def csv_text(cell: str) -> str:
    """The text that `csv_cell` has made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def is_name(name: str) -> bool:
    """Whether a text can be a name of files, columns and charts."""
    return _NAME.fullmatch(name) is not None


def refuse_no_name(name: str, what: str, where: object) -> None:
    """Refuse what cannot be a name of files, columns and charts.

    Args:
        name: As a file says.
        what: Of what it is said to be the name, such as `metric`.
        where: Of which file, for the message.

    Raises:
        UserError: If it is not 1 to 100 letters, digits, `_ . , = + -` and spaces, a letter or a digit first.
    """
    if not is_name(name):
        raise UserError(
            f"{where}: {in_a_line(repr(name), 80)} is no name of {_a(what)}: it must be up to 100 letters, digits "
            "and _ . , = + - or spaces, a letter or a digit first"
        )


def refuse_no_title(title: str, what: str, where: object) -> None:
    """Refuse what cannot be called by what a user chose: such a name is never one of a file, so that it may hold more.

    Raises:
        UserError: If it is empty, longer than `LONGEST`, or not all of it can be seen.
    """
    if not 0 < len(title) <= LONGEST or visible(title) != title or "\n" in title or "\t" in title:
        raise UserError(
            f"{where}: {in_a_line(repr(title), 80)} is no name of {_a(what)}: it must be up to {LONGEST} characters "
            "that can be seen, in one line"
        )


def _a(noun: str) -> str:
    return f"an {noun}" if noun.startswith(tuple("aeiou")) else f"a {noun}"
