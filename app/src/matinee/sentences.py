"""Find the sentences of a text, with their offsets, and make them fit to be read on their own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SHORTEST, LONGEST = 20, 450  # characters of a sentence worth quoting

# a paragraph, list item, heading or table row: what a sentence never crosses
_BLOCK = re.compile(r"(?:(?!\n[ \t]*\n|\n[ \t]*(?:[-*•>|#]|\d{1,2}[.)]\s)).)+", re.DOTALL)
_BOUNDARY = re.compile(r"(?<=[.!?])[\"”’)\]]*\s+(?=[\"“‘(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|al|approx|resp|Figs?|Eqs?|Secs?|Tab|Nos?|Dr|Mr|Mrs|Ms|Prof|St)|\b[A-Z])\.$"
)
_WELL_FORMED = re.compile(r"^[\"“‘(\[]?[A-Z0-9].*[.!][\"”’)\]]*$", re.DOTALL)
_MARKDOWN_LEAD = re.compile(r"^\s*(?:#{1,6}\s+|[-*•+]\s+|\d{1,2}[.)]\s+|>\s?)+")
_MARKDOWN_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKDOWN_MARK = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")


@dataclass(frozen=True)
class Sentence:
    """A sentence made readable; it stands at [start:end] of the text it was found in."""

    text: str
    start: int
    end: int


def find_sentences(text: str) -> Iterator[Sentence]:
    """Yield the well-formed sentences: those with a beginning, an end and a sensible length."""
    for block in _BLOCK.finditer(text):
        start = block.start()
        for end in _ends(block.group()):
            source = text[start : block.start() + end].rstrip()
            sentence = _readable(source)
            if SHORTEST <= len(sentence) <= LONGEST and _WELL_FORMED.match(sentence):
                yield Sentence(sentence, start, start + len(source))
            start = block.start() + end


def _ends(block: str) -> Iterator[int]:
    for boundary in _BOUNDARY.finditer(block):
        if not _ABBREVIATION.search(block, max(0, boundary.start() - 12), boundary.start()):
            yield boundary.end()
    yield len(block)


def _readable(text: str) -> str:
    """Take Markdown's marks and the line breaks out."""
    text = _MARKDOWN_LINK.sub(r"\1", _MARKDOWN_LEAD.sub("", text))
    return " ".join(_MARKDOWN_MARK.sub("", text).split())
