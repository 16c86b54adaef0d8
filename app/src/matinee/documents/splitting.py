"""Split a document into passages: whole thoughts which fit the embedding model."""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched, pairwise

from tokenizers import Tokenizer

from matinee.documents.document import Document, Kind, Span

PASSAGE_TOKENS = 200  # fits the embedding model's window of 256 with room for what it adds
OVERLAP_TOKENS = 40
PASSAGE_CHARACTERS = 2000  # what no token counts for, such as white space, has a limit, too
LONGEST_WORD = 100  # characters; the tokenizer sees a longer one as a single unknown token

_PIECE_CHARACTERS = 8000  # the tokenizer's time grows faster than the text it is given at once
_PIECES_AT_ONCE = 64

# How good a place to end a passage is. A passage ends at the place of the highest sum of this and of the
# share of a passage filled so far, which weighs _FULL levels: a good place is worth leaving room for.
_WORD, _SENTENCE, _LINE, _PARAGRAPH, _SECTION = range(5)
_FULL = 3.0
_HEADING_WEIGHT = 0.2  # of a section per level: a chapter's start is a better place than a subsection's

_SENTENCE_BREAK = re.compile(r"[.!?][\"”’)\]]*\s+(?=\S)|[。！？]+[」』”）]?")
_LINE_BREAK = re.compile(r"\n\s*")
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")
_WHITE_SPACE = re.compile(r"\s+")
_MARKDOWN_HEADING = re.compile(r"(#{1,6}) ")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_LONGEST_HEADING = 120


@dataclass(frozen=True)
class _Breaks:
    """Where a passage may end, in order, and how good each place is; and which of them divide words."""

    offsets: list[int]
    levels: list[float]
    within_words: list[int]


def split(document: Document, tokenizer: Tokenizer) -> list[Span]:
    """Split a document into passages at its headings, paragraphs and sentences, or rows, or lines of code.

    A passage has at most PASSAGE_TOKENS tokens and PASSAGE_CHARACTERS characters; only a word longer than
    LONGEST_WORD is ever divided. One that goes on within a section of prose starts with what the one before
    it ended with, at most OVERLAP_TOKENS tokens. One of a slide or a sheet does not leave it.

    Args:
        document: what to split.
        tokenizer: counts the tokens of a passage; must neither truncate nor pad.
    """
    breaks = _find_breaks(document)
    tokens = _token_ends(document.text, breaks.within_words, tokenizer)
    overlap = 0 if document.kind in (Kind.TABLE, Kind.CODE) else OVERLAP_TOKENS
    spans = []
    for part_start, part_end in _parts(document):
        for start, end in _passages(document.text, part_start, part_end, breaks, tokens, overlap):
            spans.append(Span(start, end, document.page_at(start), document.page_at(end - 1)))
    return spans


def _parts(document: Document) -> Iterator[tuple[int, int]]:
    """Yield the ranges which no passage leaves."""
    whole = document.kind not in (Kind.SLIDES, Kind.TABLE) or not document.page_starts
    yield from pairwise([0, len(document.text)] if whole else [*document.page_starts, len(document.text)])


def _passages(
    text: str, start: int, stop: int, breaks: _Breaks, tokens: array[int], overlap: int
) -> Iterator[tuple[int, int]]:
    start = _skip_space(text, start, stop)
    end = start
    while start < stop:
        end, level = _best_end(text, start, end, stop, breaks, tokens)
        yield start, start + len(text[start:end].rstrip())
        following = _skip_space(text, end, stop)
        if overlap and level < _SECTION and following < stop:
            following = _skip_space(text, _overlap_start(start, following, breaks, tokens, overlap), stop)
        start = following


def _skip_space(text: str, start: int, stop: int) -> int:
    while start < stop and (space := _WHITE_SPACE.match(text, start, min(stop, start + PASSAGE_CHARACTERS))):
        start = space.end()
    return start


def _best_end(
    text: str, start: int, after: int, stop: int, breaks: _Breaks, tokens: array[int]
) -> tuple[int, float]:
    """Return the best end, behind `after`, of a passage from `start` on, and how good a place it is."""
    first_token = bisect_right(tokens, start)
    last_token = first_token + PASSAGE_TOKENS
    limit = start + PASSAGE_CHARACTERS
    if last_token < len(tokens):
        limit = min(limit, tokens[last_token] - 1)  # before the end of the first token which is too many
    if limit >= stop:
        return stop, _SECTION
    best, best_level, best_score = 0, 0.0, -1.0
    for index in range(bisect_right(breaks.offsets, after), bisect_right(breaks.offsets, limit)):
        offset, level = breaks.offsets[index], breaks.levels[index]
        filled = bisect_right(tokens, offset) - first_token
        if (score := level + _FULL * filled / PASSAGE_TOKENS) >= best_score and filled:
            best, best_level, best_score = offset, level, score
    # between words, where nothing better is near the end
    space = max(text.rfind(" ", start, limit), text.rfind("\t", start, limit)) + 1
    word = bisect_right(breaks.within_words, limit) - 1
    fallback = max(space, breaks.within_words[word] if word >= 0 else 0)
    filled = bisect_right(tokens, fallback) - first_token
    if fallback > max(start, after) and filled and _WORD + _FULL * filled / PASSAGE_TOKENS > best_score:
        return fallback, _WORD
    return (best, best_level) if best else (limit, _WORD)


def _overlap_start(start: int, end: int, breaks: _Breaks, tokens: array[int], overlap: int) -> int:
    """Return the first place between sentences from which at most `overlap` tokens lead to `end`."""
    before_end = bisect_right(tokens, end)
    index = bisect_left(breaks.offsets, end)
    while index > 0 and breaks.offsets[index - 1] > start:
        if before_end - bisect_right(tokens, breaks.offsets[index - 1]) > overlap:
            break
        index -= 1
        if breaks.levels[index] >= _SECTION:
            break
    return min(breaks.offsets[index], end) if index < len(breaks.offsets) else end


def _find_breaks(document: Document) -> _Breaks:
    text = document.text
    levels: dict[int, float] = {}
    if document.kind not in (Kind.TABLE, Kind.CODE):  # whose rows and lines stay whole
        levels.update((found.end(), _SENTENCE) for found in _SENTENCE_BREAK.finditer(text))
    fences = [found.start() for found in _FENCE.finditer(text)] if document.kind is Kind.MARKDOWN else []
    after_heading = False
    for found in _LINE_BREAK.finditer(text):
        start = found.end()
        # a line keeps its indent
        levels.pop(start, None)
        start = found.start() + found.group().rfind("\n") + 1
        blank_lines = found.group().count("\n") - 1
        fenced = bisect_right(fences, found.start()) % 2 == 1
        levels[start] = _SENTENCE if after_heading else _line_level(document, start, blank_lines, fenced)
        after_heading = not fenced and levels[start] >= _SECTION and _is_heading(document, start)
    offsets = sorted(levels)
    within_words = [
        offset
        for word in _LONG_WORD.finditer(text)
        for offset in range(word.start() + LONGEST_WORD, word.end(), LONGEST_WORD)
    ]
    return _Breaks(offsets, [levels[offset] for offset in offsets], within_words)


def _line_level(document: Document, start: int, blank_lines: int, fenced: bool) -> float:
    """Return how good a place to end a passage the start of a line is, after so many blank lines."""
    if document.kind is Kind.CODE:
        at_margin = not document.text[start : start + 1].isspace()
        return (_SECTION if at_margin else _PARAGRAPH) if blank_lines else _LINE
    if document.kind is Kind.MARKDOWN and not fenced:
        heading = _MARKDOWN_HEADING.match(document.text, start)
        if heading:
            return _SECTION + _HEADING_WEIGHT * (7 - len(heading.group(1)))
        return _PARAGRAPH if blank_lines else _LINE
    return min(_LINE + blank_lines, _SECTION)


def _is_heading(document: Document, start: int) -> bool:
    """Tell whether the line at `start`, which follows a large gap, heads what comes after it."""
    if document.kind in (Kind.CODE, Kind.TABLE):
        return False
    if document.kind is Kind.MARKDOWN:
        return bool(_MARKDOWN_HEADING.match(document.text, start))
    line = document.text[start : start + _LONGEST_HEADING + 1].partition("\n")[0].rstrip()
    return len(line) <= _LONGEST_HEADING and line[-1:] not in ".!?,;"


def _token_ends(text: str, within_words: list[int], tokenizer: Tokenizer) -> array[int]:
    """Return the offset at which each token of the text ends, in order."""
    ends = array("i")
    for pieces in batched(_pieces(text, within_words), _PIECES_AT_ONCE, strict=False):
        encodings = tokenizer.encode_batch(
            [text[start:end] for start, end in pieces], add_special_tokens=False
        )
        for (piece_start, _), encoding in zip(pieces, encodings, strict=True):
            ends.extend(piece_start + end for _, end in encoding.offsets)
    return ends


def _pieces(text: str, within_words: list[int]) -> Iterator[tuple[int, int]]:
    """Cut the text where passages may end, too, so that the parts have as many tokens as the whole."""
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARACTERS
        if end < len(text):
            space = max(text.rfind(" ", start, end), text.rfind("\n", start, end)) + 1
            end = space if space > start else end
        word = bisect_right(within_words, start)
        if word < len(within_words):
            end = min(end, within_words[word])
        yield start, min(end, len(text))
        start = end
