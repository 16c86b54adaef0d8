"""Find the sentences of a text, with their offsets, and make them fit to be read on their own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SHORTEST, LONGEST = 20, 450  # characters of a sentence worth quoting
MOST_DIGITS = 0.2  # of a sentence's characters; more is the debris of a table or a formula

# a paragraph, list item, heading or table row: what a sentence never crosses
_BLOCK = re.compile(r"(?:(?!\n[ \t]*\n|\n[ \t]*(?:[-*•>|#]|\d{1,2}[.)]\s)).)+", re.DOTALL)
_BOUNDARY = re.compile(r"(?<=[.!?])[\"”’)\]]*\s+(?=[\"“‘(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|al|approx|resp|Figs?|Eqs?|Secs?|Tab|Nos?|Dr|Mr|Mrs|Ms|Prof|St)|\b[A-Z])\.$"
)
_WELL_FORMED = re.compile(r"^[\"“‘]?[A-Z0-9].*[.!][\"”’)\]]*$", re.DOTALL)
_FOOTNOTE = re.compile(r"\d{1,2}\s?[A-Z][a-z]+\s")  # "4We use …", which pages put between two lines
_CAPTION = re.compile(r"(?:\d+\s+)?(?:Table|Figure|Fig\.|Listing|Algorithm)\s+\d+\s*[.:]")
# an entry of a list of references: authors, a year on its own, pages, an address
_REFERENCE = re.compile(
    r"arXiv|doi\.org|\bpp?\. ?\d|\bIn Proceedings\b|\bpages \d"
    r"|\b[A-Z][a-z]+, [A-Z]\.(?: ?[A-Z]\.)*,? (?:and|&|[A-Z])"
    r"|^(?:\d{4}[a-z]?\.|\[\d+\])"
)
_MARKDOWN_LEAD = re.compile(r"^\s*(?:#{1,6}\s+|[-*•+]\s+|\d{1,2}[.)]\s+|>\s?)+")
_MARKDOWN_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKDOWN_MARK = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_SPLIT_WORD = re.compile(r"(?<=[a-z])[-\u00ad\ufffe\x02]\s*\n\s*(?=[a-z])")  # a word cut at the end of a line
# a heading that stands before its text without a mark: a line much shorter than the one after it
_HEADING = re.compile(r"((?:\d+(?:\.\d+)*\.?\s+)?[A-Z][^\n.!?:;,]{2,60})\n+(?=([A-Z][^\n]*))")
HEADING_SHARE = 0.6  # of the next line's length


@dataclass(frozen=True)
class Sentence:
    """A sentence made readable; it stands at [start:end] of the text it was found in."""

    text: str
    start: int
    end: int


def pieces(text: str) -> Iterator[Sentence]:
    """Yield all of the text as sentences, list items, rows and headings, however they read."""
    for block in _BLOCK.finditer(text):
        start = block.start()
        heading = _HEADING.match(block.group().lstrip())
        if heading and len(heading[1]) < HEADING_SHARE * len(heading[2]):
            end = start + len(block.group()) - len(block.group().lstrip()) + heading.end()
            yield from _piece(text, start, end)
            start = end
        for end in _ends(block.group()):
            if block.start() + end > start:
                yield from _piece(text, start, block.start() + end)
                start = block.start() + end


def find_sentences(text: str) -> Iterator[Sentence]:
    """Yield the well-formed sentences: those with a beginning, an end and a sensible length."""
    found = list(_with_intros(pieces(text)))
    for at, piece in enumerate(found):
        # the title in an entry of a list of references reads like a sentence; what stands beside it does not
        beside = [
            other
            for other in found[max(0, at - 1) : at + 2]
            if "\n\n" not in text[min(piece.end, other.end) : max(piece.start, other.start)]
        ]
        if is_well_formed(piece.text) and not any(_REFERENCE.search(other.text) for other in beside):
            yield piece


def _with_intros(found: Iterator[Sentence]) -> Iterator[Sentence]:
    """Join what introduces a list, and ends with a colon, to the first of the list."""
    intro: Sentence | None = None
    for piece in found:
        if piece.text.endswith(":") and len(piece.text) >= SHORTEST:
            if intro:
                yield intro
            intro = piece
        elif intro:
            yield Sentence(f"{intro.text} {piece.text}", intro.start, piece.end)
            intro = None
        else:
            yield piece


def is_well_formed(text: str) -> bool:
    """Tell whether a piece is a sentence which can stand on its own, and no debris of a page."""
    return bool(
        SHORTEST <= len(text) <= LONGEST
        and _WELL_FORMED.match(text)
        and not _ABBREVIATION.search(text)
        and not _FOOTNOTE.match(text)
        and not _CAPTION.match(text)
        and all(text.count(left) == text.count(right) for left, right in ("()", "[]", "“”"))
        and sum(map(str.isdigit, text)) <= MOST_DIGITS * len(text)
    )


def ends_abbreviated(text: str) -> bool:
    """Tell whether the full stop at the end of a text belongs to an abbreviation."""
    return bool(_ABBREVIATION.search(text[-12:]))


def _piece(text: str, start: int, end: int) -> Iterator[Sentence]:
    source = text[start:end].rstrip()
    lead = len(source) - len(source.lstrip())
    readable = _readable(source)
    if readable:
        yield Sentence(readable, start + lead, start + len(source))


def _ends(block: str) -> Iterator[int]:
    for boundary in _BOUNDARY.finditer(block):
        if not _ABBREVIATION.search(block, max(0, boundary.start() - 12), boundary.start()):
            yield boundary.end()
    yield len(block)


def _readable(text: str) -> str:
    """Take Markdown's marks and the line breaks out."""
    text = _MARKDOWN_LINK.sub(r"\1", _MARKDOWN_LEAD.sub("", text))
    return " ".join(_MARKDOWN_MARK.sub("", _SPLIT_WORD.sub("", text)).split())
