"""What a loaded document is. Every offset counts characters of the document's text."""

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum

from matinee.errors import MatineeError

MAX_CHARACTERS = 20_000_000  # of a document; it would take an hour to embed


class DocumentError(MatineeError):
    """A file cannot become a document; the message says why and what would help."""


def too_long(name: str) -> DocumentError:
    """Return the error of a document with more text than can be searched in sensible time."""
    return DocumentError(
        f"{name} has more than {MAX_CHARACTERS // 1_000_000} million characters of text. "
        "Divide it into smaller files and upload those."
    )


class Kind(StrEnum):
    """What a document's text is, which decides how it is split."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CODE = "code"
    TABLE = "table"  # one row per line
    PDF = "pdf"
    SLIDES = "slides"


@dataclass(frozen=True)
class Document:
    """A loaded document.

    Attributes:
        name: its file name, without a folder.
        text: all of its text.
        kind: what the text is.
        page_starts: the offset at which each page, slide or sheet starts; empty where there are none.
        page_names: the names of sheets; empty where pages are numbered.
        notices: what a reader should know, such as pages that could not be read.
    """

    name: str
    text: str
    kind: Kind = Kind.TEXT
    page_starts: tuple[int, ...] = ()
    page_names: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def page_at(self, offset: int) -> int | None:
        """Return the number of the page, from 1, which holds the character at `offset`."""
        return bisect_right(self.page_starts, offset) if self.page_starts else None


@dataclass(frozen=True)
class Span:
    """Where a passage stands: `document.text[start:end]`, on pages `page` to `last_page`."""

    start: int
    end: int
    page: int | None
    last_page: int | None
