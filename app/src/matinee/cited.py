"""Show an answer while it is written, each sentence's citations once it is whole and has been checked."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from matinee.sentences import ends_abbreviated

UNSUPPORTED_MARK = "⚠"
"""Stands after a claim which no passage supports."""

# Brackets in code are no citations.
CODE = r"(?<![\\`])(?P<ticks>`+)[^`\n]+(?P=ticks)"  # on a line
CODE_BLOCK = r"(?P<fence>`{3,}|~{3,})[^\n]*\n(?s:.*?\n)??[ \t]*(?P=fence)"

_FENCE = re.compile(r"[ \t]*(?:`{3,}[^`\n]*(?:\n|\Z)|~{3})")  # begins a block of code
_FENCED = re.compile(rf"[ \t]*{CODE_BLOCK}[ \t]*\n+")
_INLINE = re.compile(rf"{CODE}|(?P<open>`[^\n]*\Z)")  # the next part may close an open one
_MARKER = re.compile(rf"(?P<code>{CODE})|\s*\[\s*(?P<numbers>[1-9]\d*(?:\s*[,;]\s*[1-9]\d*)*)\s*\]")
_MAYBE_MARKER = re.compile(r"\s*(?:\[[\d\s,;]*)?$")  # at the end: the next part may make it one
_END = re.compile(r"[.!?…]*[\"'”’)*_]*$")
_BOUNDARY = re.compile(
    r"\n+"
    r"|[.!?…][\"'”’)*_]*(?:\s*\[[\d\s,;]+\])*[ \t]+(?=[^\s\[a-z])"
    r"|[。！？](?:\s*\[[\d\s,;]+\])*(?=[^\s\[])"
)
_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s*$")  # "1." begins an item of a list, and ends no sentence


@dataclass(frozen=True)
class Checked:
    """What the check says of a sentence: the passages it may cite, and whether it is a claim without any."""

    numbers: tuple[int, ...]
    unsupported: bool = False


class CitedText:
    """Takes the parts of an answer and gives what can be shown of it.

    Args:
        check: tells of a sentence, and the numbers it cites, what it may cite.
    """

    def __init__(self, check: Callable[[str, tuple[int, ...]], Checked]) -> None:
        self._check = check
        self._raw = ""  # of the sentence being written
        self._shown = 0  # characters of it which are out, without markers

    def feed(self, part: str) -> str:
        """Return what can be shown now."""
        self._raw += part
        out = self._close_sentences()
        text, numbers, _ = _split(self._raw[: _held_from(self._raw)])
        text = text.rstrip()
        if numbers:
            text = text[: _END.search(text).start()].rstrip()  # type: ignore[union-attr]  # it matches ""
        out += text[self._shown :]
        self._shown = max(self._shown, len(text))
        return out

    def finish(self) -> str:
        """Return the rest."""
        out = self._close_sentences(ended=True) + self._close(self._raw)
        self._raw = ""
        return out

    def _close_sentences(self, *, ended: bool = False) -> str:
        out = ""
        while (end := self._sentence_end(ended)) is not None:
            out += self._close(self._raw[:end])
            self._raw = self._raw[end:]
        return out

    def _sentence_end(self, ended: bool) -> int | None:
        if _FENCE.match(self._raw):
            block = _FENCED.match(self._raw)
            return block.end() if block and block.end() < len(self._raw) else None
        code = [match.span() for match in _INLINE.finditer(self._raw) if not (ended and match["open"])]
        for boundary in _BOUNDARY.finditer(self._raw):
            if any(start < boundary.start() < end for start, end in code):
                continue
            before = self._raw[: boundary.start() + 1]
            is_line = boundary.group().startswith("\n")
            if is_line and boundary.end() == len(self._raw):
                return None  # more of the line breaks may follow
            if is_line or not (ends_abbreviated(before) or _ITEM.match(before)):
                return boundary.end()
        return None

    def _close(self, raw: str) -> str:
        """Return what is left to show of a whole sentence, with the citations that hold."""
        text, numbers, before_end = _split(raw)
        body = text.rstrip()
        tail = raw[len(raw.rstrip()) :]
        checked = self._check(body, numbers)
        marks = "".join(f"[{number}]" for number in checked.numbers)
        if checked.unsupported:
            marks += UNSUPPORTED_MARK
        place = _END.search(body).start() if before_end else len(body)  # type: ignore[union-attr]
        place = max(place, self._shown)
        space = "\n" if _FENCE.match(raw) else " "  # behind its marks a fence would close nothing
        shown = body[:place] + (f"{space}{marks}" if marks else "") + body[place:] + tail
        out, self._shown = shown[self._shown :], 0
        return out


def _split(raw: str) -> tuple[str, tuple[int, ...], bool]:
    """Return a sentence without its markers, their numbers, and whether they stand before its end."""
    numbers: dict[int, None] = {}
    last_end = None
    if _FENCE.match(raw):
        return raw, (), False
    for marker in _MARKER.finditer(raw):
        if marker["numbers"]:
            numbers.update(dict.fromkeys(int(number) for number in re.findall(r"\d+", marker["numbers"])))
            last_end = marker.end()
    before_end = last_end is not None and bool(re.match(r"[.!?…]", raw[last_end:].lstrip("\"'”’)*_ ")))
    return _MARKER.sub(lambda marker: marker["code"] or "", raw), tuple(numbers), before_end


def _held_from(raw: str) -> int:
    if _FENCE.match(raw):
        return len(raw)
    held = [match.start() for match in _INLINE.finditer(raw) if match["open"]]
    if marker := _MAYBE_MARKER.search(raw):
        held.append(marker.start())
    return min(held, default=len(raw))
