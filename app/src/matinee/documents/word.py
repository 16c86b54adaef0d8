"""Word documents as Markdown: headings, lists, tables and footnotes, in the order of the body."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

from matinee.documents.document import Document, Kind
from matinee.documents.office import damaged
from matinee.documents.text import clean

if TYPE_CHECKING:
    from docx.document import Document as WordDocument

type Element = Any  # lxml's, which has no types

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_VALUE = f"{_W}val"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_NOTES = ("/footnotes", "/endnotes")
_HEADING = re.compile(r"heading (\d)")
_CHARACTERS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
# what a paragraph's text is not made of: what was deleted, and what stands in paragraphs of its own
_NOT_TEXT = {f"{_W}{tag}" for tag in ("del", "moveFrom", "pPr", "rPr", "txbxContent")} | {_FALLBACK}
_DEEPEST_STYLE = 10  # styles that are based on each other; a damaged file may have a circle of them


def read_docx(name: str, data: bytes) -> Document:
    """Return the document of a .docx file."""
    import docx

    try:
        text = clean(_Reader(docx.Document(BytesIO(data))).read())
    except Exception:  # python-docx trusts its files: a damaged one raises whatever its parts run into
        raise damaged(name) from None
    return Document(name, text, Kind.MARKDOWN)


def markdown_table(rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown, whose first row is the header."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    if lines:
        lines.insert(1, "|" + " --- |" * len(cells[0]))
    return "\n".join(lines)


class _Reader:
    """Reads a document's XML: python-docx's text leaves out insertions, content controls and text boxes."""

    def __init__(self, word: WordDocument) -> None:
        self._word = word
        self._styles = {style.get(f"{_W}styleId"): style for style in word.styles.element.iter(f"{_W}style")}
        self._numbered = self._find_numbered()
        self._counts: Counter[tuple[str, str]] = Counter()

    def read(self) -> str:
        text, was_item = "", False
        for block, is_item in self._all_blocks():
            text += ("\n" if is_item and was_item else "\n\n") + block
            was_item = is_item
        return text.strip()

    def _all_blocks(self) -> Iterator[tuple[str, bool]]:
        from docx.oxml import parse_xml

        yield from self._blocks(self._word.element.body)
        for relation in self._word.part.rels.values():
            if relation.reltype.endswith(_NOTES) and not relation.is_external:
                yield from self._blocks(parse_xml(relation.target_part.blob))

    def _blocks(self, parent: Element) -> Iterator[tuple[str, bool]]:
        """Yield each paragraph or table as Markdown, and whether it is an item of a list."""
        for element in parent.iterchildren():
            if element.tag == f"{_W}p":
                if text := _text(element).strip():
                    yield self._paragraph(element, text)
                for box in element.iter(f"{_W}txbxContent"):
                    if not any(True for _ in box.iterancestors(_FALLBACK)):
                        yield from self._blocks(box)
            elif element.tag == f"{_W}tbl":
                rows = ((_cell(cell) for cell in row.iter(f"{_W}tc")) for row in element.iter(f"{_W}tr"))
                yield markdown_table(rows), False
            elif element.tag not in _NOT_TEXT:
                yield from self._blocks(element)  # a content control, say

    def _paragraph(self, paragraph: Element, text: str) -> tuple[str, bool]:
        properties = paragraph.find(f"{_W}pPr")
        chain = self._based_on(properties)
        if level := next(filter(None, map(_heading_level, chain)), 0):
            return f"{'#' * level} {' '.join(text.split())}", False
        numbering = next((found for item in chain if (found := item.find(f".//{_W}numPr")) is not None), None)
        if numbering is None:
            return text, False
        list_id, depth = (_value(numbering, tag, "0") for tag in ("numId", "ilvl"))
        if list_id == "0":  # a list's look taken away
            return text, False
        self._counts[list_id, depth] += 1
        mark = f"{self._counts[list_id, depth]}." if (list_id, depth) in self._numbered else "-"
        return f"{'  ' * min(int(depth), 8)}{mark} {text}", True

    def _based_on(self, properties: Element) -> list[Element]:
        """Return what says how a paragraph looks: its own properties, its style and those it is based on."""
        if properties is None:
            return []
        chain, style_id = [properties], _value(properties, "pStyle")
        while style_id in self._styles and len(chain) < _DEEPEST_STYLE:
            chain.append(self._styles[style_id])
            style_id = _value(chain[-1], "basedOn")
        return chain

    def _find_numbered(self) -> set[tuple[str, str]]:
        """Return which lists are numbered, at which depths."""
        part = next(
            (
                item.target_part
                for item in self._word.part.rels.values()
                if item.reltype.endswith("/numbering")
            ),
            None,
        )
        if part is None:
            return set()
        root = part.element
        numbered = {
            (abstract.get(f"{_W}abstractNumId"), level.get(f"{_W}ilvl"))
            for abstract in root.iter(f"{_W}abstractNum")
            for level in abstract.iter(f"{_W}lvl")
            if _value(level, "numFmt") not in ("bullet", "none")
        }
        return {
            (number.get(f"{_W}numId"), depth)
            for number in root.iter(f"{_W}num")
            for abstract, depth in numbered
            if _value(number, "abstractNumId") == abstract
        }


def _heading_level(look: Element) -> int:
    """Return the heading level which a style or a paragraph's own properties give, or 0."""
    name = _value(look, "name").lower()
    if name == "title":
        return 1
    if found := _HEADING.fullmatch(name):
        return min(int(found.group(1)), 6)
    outline = next((item.get(_VALUE) for item in look.iter(f"{_W}outlineLvl")), "9")
    return min(int(outline) + 1, 6) if outline < "9" else 0


def _value(parent: Element, tag: str, default: str = "") -> str:
    element = parent.find(f"{_W}{tag}")
    return default if element is None else element.get(_VALUE, default)


def _text(element: Element) -> str:
    """Return the text of a paragraph."""
    if element.tag == f"{_W}t":
        return element.text or ""
    if element.tag in _CHARACTERS:
        return _CHARACTERS[element.tag]
    return "".join(_text(child) for child in element.iterchildren() if child.tag not in _NOT_TEXT)


def _cell(cell: Element) -> str:
    return " ".join(_text(paragraph) for paragraph in cell.iter(f"{_W}p"))
