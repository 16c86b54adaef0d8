"""Make passages fit to be read: see which say the same, join neighbours, complete what was cut."""

import re
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from matinee.documents import Kind
from matinee.stores.truth import Passage, Truth

SAME_COSINE = 0.97  # of two passages that may say the same; their words decide
SAME_SHINGLES = 0.9  # share of the runs of three words that both have
GAP = 20  # characters, as of white space, between passages that still are neighbours
AROUND = (
    400  # characters read on either side of a passage: it was found by its own words, and is read with these
)
JOINED = 3200  # characters of a joined passage at most: about three, with what is around them
WIDENED = 300  # characters at most by which a passage is widened at either end

_WORD = re.compile(r"\w+")
_SENTENCE_END = r"[.!?…][\"”’)\]]*"
_NEXT_ITEM = r"\n(?=[ \t]*(?:[-*•#|>]|\d{1,2}[.)])\s)"
_BEGINNING = re.compile(rf"{_SENTENCE_END}\s+|\n\s*\n\s*|{_NEXT_ITEM}")
_END = re.compile(rf"(?<=[.!?…])(?=\s)|{_SENTENCE_END}(?=\s)|(?=\s*\n\s*\n)|(?={_NEXT_ITEM})")
_LINE_BEGINNING, _LINE_END = re.compile(r"\n"), re.compile(r"(?=\n)")


@dataclass
class Stretch:
    """A part of a document that is read as one, and the passages it is made of, best first."""

    document_id: int
    start: int
    end: int
    members: list[int]

    def touches(self, other: "Stretch") -> bool:
        """Tell whether the two are neighbours or overlap, and short enough to be joined."""
        return (
            self.document_id == other.document_id
            and max(self.start, other.start) <= min(self.end, other.end) + GAP
            and max(self.end, other.end) - min(self.start, other.start) <= JOINED
        )

    def overlaps(self, other: "Stretch") -> bool:
        """Tell whether the two have text in common."""
        return self.document_id == other.document_id and self.start < other.end and other.start < self.end

    def cut(self, other: "Stretch") -> None:
        """Leave to the other what both have."""
        if self.start < other.start:
            self.end = min(self.end, other.start)
        else:
            self.start = max(self.start, other.end)

    def take(self, other: "Stretch") -> None:
        """Join the other to this one."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.members += other.members


def around(passage: Passage, page_starts: Sequence[int]) -> Stretch:
    """Return the passage with what is around it on its pages."""
    first, last = 0, sys.maxsize
    if passage.page and passage.last_page and passage.last_page <= len(page_starts):
        first, last = page_starts[passage.page - 1], (*page_starts, last)[passage.last_page]
    start, end = max(passage.start - AROUND, first), min(passage.end + AROUND, last)
    return Stretch(passage.document_id, start, end, [passage.id])


def same(text: str, other: str) -> bool:
    """Tell whether two texts say the same: the same words, in nearly the same order."""
    words, others = _WORD.findall(text.lower()), _WORD.findall(other.lower())
    if set(words) != set(others):  # one “not” makes a contradiction of a copy
        return False
    shingles, other_shingles = _shingles(words), _shingles(others)
    return len(shingles & other_shingles) >= SAME_SHINGLES * len(shingles | other_shingles)


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def complete(passage: Passage, stretch: Stretch, truth: Truth) -> Passage:
    """Return the passage widened to the whole stretch, and to the ends of its first and last sentence."""
    offset = max(0, min(stretch.start, passage.start) - WIDENED)
    wanted = max(stretch.end, passage.end) + WIDENED
    text = truth.text(stretch.document_id, offset, wanted)
    if text[passage.start - offset : passage.end - offset] != passage.text:
        return passage  # the document was replaced or removed meanwhile
    by_line = passage.kind in (Kind.CODE, Kind.TABLE)
    start = stretch.start - offset
    before = [match.end() for match in (_LINE_BEGINNING if by_line else _BEGINNING).finditer(text)]
    near = [at for at in (*([0] if offset == 0 else []), *before) if at <= start]
    if near and text[near[-1] : start].strip():
        start = near[-1]
    end = stretch.end - offset
    if by_line or not re.search(rf"{_SENTENCE_END}\s*$", text[max(0, end - 10) : end]):
        after = (_LINE_END if by_line else _END).search(text, end)
        if after:
            end = after.end()
        elif offset + len(text) < wanted:  # the document ends there
            end = len(text.rstrip())
    start, end = start + offset, end + offset
    if (start, end) == (passage.start, passage.end):
        return passage
    pages = truth.page_starts(stretch.document_id)
    page, last_page = (bisect_right(pages, at) if pages else None for at in (start, end - 1))
    text = text[start - offset : end - offset]
    return replace(passage, start=start, end=end, page=page, last_page=last_page, text=text)
