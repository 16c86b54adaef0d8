"""Text of PDFs, which store lines, each at its place: paragraphs and headings are found by the places."""

import ctypes
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import pypdfium2
from pypdfium2 import raw

from matinee.documents.document import MAX_CHARACTERS, Document, DocumentError, Kind, too_long
from matinee.documents.text import clean

PDFIUM = threading.Lock()  # pdfium does one thing at a time
MAX_PAGES = 5000

# Separators: the more line breaks, the better a place to split
_JOINED, _SPACE, _LINE, _PARAGRAPH, _SECTION = "", " ", "\n", "\n\n", "\n\n\n"

_LINE_END = re.compile(r"(\r\n|\r|\n|\ufffe|\x02)")
_DIVIDED = ("\ufffe", "\x02")  # how pdfium tells a hyphen that divides a word
_LIST_ITEM = re.compile(r"(?:[•▪●◦*–-]|\d{1,2}[.)])\s")
_SENTENCE_END = re.compile(r"[.!?:]['\"”’)\]]*$")
_NOT_AT_HEADING_END = (".", "!", "?", ",", ";", ":")
_LONGEST_HEADING = 120
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_ALPHANUMERIC = re.compile(r"[^\W_]")
_COUNTING = tuple(
    re.compile(number, re.IGNORECASE)
    for number in (r"^\d{1,5}\b", r"\b\d{1,5}$", r"(?<=page )\d{1,5}", r"(?<=seite )\d{1,5}")
)
_PAGE_NUMBER = re.compile(
    r"[\W_]*(?:(?:page|seite|p\.)\s*)?#-?\d+(?:\s*(?:/|of|von)\s*\d+)?[\W_]*", re.IGNORECASE
)
_FEW = 0.1  # of a page's characters
_RUNNING_BAND = 0.1  # of the page's height, at its top and bottom
_RUNNING_PAGES = 3
_MOSTLY = 0.5  # of a page's area
_STAMP = 3  # words


@dataclass(frozen=True)
class _Line:
    """A line where it stands; `base` is the height of its baseline, from the bottom of the page."""

    text: str
    left: float
    right: float
    base: float
    height: float
    bold: bool
    divided: bool  # it ends within a word

    def alike(self, other: "_Line") -> bool:
        """Tell whether two lines are of one size, as far as different fonts have one."""
        return abs(self.height - other.height) <= 0.15 * max(self.height, other.height)

    def is_turned(self) -> bool:
        """Tell whether the line runs up or down the page."""
        return len(self.text) > 8 and self.right - self.left < 0.15 * self.height * len(self.text)

    def is_row(self) -> bool:
        """Tell whether the line looks like a row of figures."""
        words = self.text.split()
        return len(words) > 1 and sum(not word.isalpha() for word in words) >= 0.5 * len(words)


@dataclass(frozen=True)
class _Page:
    lines: tuple[_Line, ...]
    bottom: float
    top: float
    pictured: float  # share of it which pictures cover; not looked for where text stands amid the page


def read_pdf(name: str, data: bytes) -> Document:
    """Return the document of a PDF."""
    pages = list(_read_pages(name, data))
    kept = _without_running_heads(pages)
    scans = [number for number, page in enumerate(pages, 1) if _is_scan(page, kept[number - 1])]
    if not any(kept) or len(scans) == len(pages):
        plural = "page" if len(pages) == 1 else "pages"
        raise DocumentError(
            f"{name} has {len(pages)} {plural} but no text: it looks like a scan. "
            "Run it through text recognition (OCR) and upload the result."
        )
    writer = _Writer(kept)
    text, starts = "", []
    for separator, page_text in writer.pages():
        text += separator if text else ""
        starts.append(len(text))
        text += page_text
    return Document(name, text, Kind.PDF, tuple(starts), notices=_scan_notice(scans, len(pages)))


def _read_pages(name: str, data: bytes) -> Iterator[_Page]:
    with PDFIUM:
        try:
            pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if error.err_code == raw.FPDF_ERR_PASSWORD:
                raise DocumentError(
                    f"{name} is protected by a password. Save a copy without the password and upload that."
                ) from None
            raise DocumentError(
                f"{name} is damaged or cut short and does not open as a PDF. Fetch or export it again."
            ) from None
    try:
        if len(pdf) > MAX_PAGES:
            raise DocumentError(
                f"{name} has {len(pdf):,} pages; a document may have {MAX_PAGES:,}. Divide it into parts."
            )
        length = 0
        for index in range(len(pdf)):
            try:
                with PDFIUM:  # a page at a time, so that others get their turn
                    page = _read_page(pdf[index])
            except pypdfium2.PdfiumError:
                raise DocumentError(
                    f"{name} is damaged: its page {index + 1} of {len(pdf)} cannot be read. "
                    "Fetch or export it again."
                ) from None
            length += sum(len(line.text) for line in page.lines)
            if length > MAX_CHARACTERS:
                raise too_long(name)
            yield page
    finally:
        with PDFIUM:
            pdf.close()


def _read_page(page: pypdfium2.PdfPage) -> _Page:
    text_page = page.get_textpage()
    lines = tuple(_on_one_line(_upright(list(_lines(text_page)))))
    text_page.close()
    _, bottom, _, top = page.get_bbox()
    read = _Page(lines, bottom, top, pictured=0)
    if all(_is_at_edge(read, line) for line in lines):
        read = replace(read, pictured=_pictured(page))
    page.close()
    return read


def _pictured(page: pypdfium2.PdfPage) -> float:
    """Return the share of a page which pictures cover."""
    covered = 0.0
    for picture in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        placed = picture
        while placed.container:  # whose place on the page is known, as that of its parts is not
            placed = placed.container
        left, bottom, right, top = placed.get_bounds()
        covered += (right - left) * (top - bottom)
    left, bottom, right, top = page.get_bbox()
    return covered / max((right - left) * (top - bottom), 1)


def _is_scan(page: _Page, kept: Sequence[_Line]) -> bool:
    """Tell whether a page is a picture without text, or with no more than a stamp at its edge.

    Args:
        page: as it was read.
        kept: its lines without running heads.
    """
    if not page.lines:
        return page.pictured > 0
    words = sum(len(_WORD.findall(line.text)) for line in kept)
    return page.pictured >= _MOSTLY and words <= _STAMP


def _lines(text_page: pypdfium2.PdfTextPage) -> Iterator[_Line]:
    parts = _LINE_END.split(text_page.get_text_range())
    offset = 0
    for text, end in zip(parts[::2], [*parts[1::2], ""], strict=True):
        shown = text.strip()
        if cleaned := clean(shown).replace("\n", " ").strip():
            start = offset + text.index(shown)
            # a letter or digit near the middle says more of the line than a bullet at its start
            middle = _ALPHANUMERIC.search(shown, len(shown) // 2) or _ALPHANUMERIC.search(shown)
            first, centre, last = (
                raw.FPDFText_GetCharIndexFromTextIndex(text_page, start + index)
                for index in (0, middle.start() if middle else 0, len(shown) - 1)
            )
            boxes = _box(text_page, first), _box(text_page, last)  # the other way round in Arabic
            left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
            _, bottom, _, top = _box(text_page, centre)
            divided = end in _DIVIDED
            yield _Line(
                cleaned,
                left,
                right,
                _baseline(text_page, centre),
                top - bottom,
                _is_bold(text_page, centre),
                divided,
            )
        offset += len(text) + len(end)


def _box(text_page: pypdfium2.PdfTextPage, index: int) -> tuple[float, float, float, float]:
    box = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(text_page, index, box)
    return box.left, box.bottom, box.right, box.top


def _baseline(text_page: pypdfium2.PdfTextPage, index: int) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(text_page, index, x, y)
    return y.value


def _is_bold(text_page: pypdfium2.PdfTextPage, index: int) -> bool:
    name, flags = ctypes.create_string_buffer(100), ctypes.c_int()
    raw.FPDFText_GetFontInfo(text_page, index, name, len(name), flags)
    return raw.FPDFText_GetFontWeight(text_page, index) >= 600 or b"Bold" in name.value


def _upright(lines: Sequence[_Line]) -> Iterator[_Line]:
    """Leave out the few lines that run up a page, as stamps in its margin do."""
    turned = {index for index, line in enumerate(lines) if line.is_turned()}
    few = sum(len(lines[index].text) for index in turned) < _FEW * sum(len(line.text) for line in lines)
    return (line for index, line in enumerate(lines) if not few or index not in turned)


def _on_one_line(lines: Iterator[_Line]) -> Iterator[_Line]:
    """Put together what stands on one line but was stored apart, such as a raised number."""
    held: _Line | None = None
    for line in lines:
        if held and _continues(held, line):
            size = max(held, line, key=lambda item: (item.height, len(item.text)))
            gap = " " if line.left - held.right > 0.15 * size.height else ""
            held = replace(
                size, text=held.text + gap + line.text, left=held.left, right=line.right, divided=line.divided
            )
            continue
        if held:
            yield held
        held = line
    if held:
        yield held


def _continues(held: _Line, line: _Line) -> bool:
    height = max(held.height, line.height)
    return (
        abs(held.base - line.base) < 0.5 * height
        and -0.3 * height < line.left - held.right < 2 * height
        and not held.divided
    )


def _without_running_heads(pages: Sequence[_Page]) -> list[tuple[_Line, ...]]:
    """Leave out what is repeated at the top or bottom of pages, after its first time, and page numbers."""
    counts: Counter[str] = Counter()
    for index, page in enumerate(pages):
        edge = (line for line in page.lines if _is_at_edge(page, line))
        counts.update({pattern for line in edge for pattern in _patterns(line, index)})
    seen: set[str] = set()
    kept = []
    for index, page in enumerate(pages):
        lines = []
        for line in page.lines:
            running = {item for item in _patterns(line, index) if counts[item] >= _RUNNING_PAGES}
            if running and _is_at_edge(page, line):
                if running & seen or any(map(_PAGE_NUMBER.fullmatch, running)):
                    continue
                seen |= running
            lines.append(line)
        kept.append(tuple(lines))
    return kept


def _patterns(line: _Line, index: int) -> Iterator[str]:
    """Yield what is the same on every page: the line, also with a number that counts the pages taken out."""
    yield line.text
    for number in _COUNTING:
        if found := number.search(line.text):
            yield f"{line.text[: found.start()]}#{int(found.group()) - index}{line.text[found.end() :]}"


def _is_at_edge(page: _Page, line: _Line) -> bool:
    band = _RUNNING_BAND * (page.top - page.bottom)
    return not page.bottom + band < line.base < page.top - band


class _Writer:
    """Writes lines as paragraphs."""

    def __init__(self, pages: Sequence[tuple[_Line, ...]]) -> None:
        self._pages = pages
        lines = [line for page in pages for line in page]
        sizes: Counter[float] = Counter()
        for line in lines:
            sizes[round(line.height)] += len(line.text)
        self._body = sizes.most_common(1)[0][0] if sizes else 0.0
        bold = sum(len(line.text) for line in lines if line.bold)
        self._bold_means = bold < 0.3 * sum(len(line.text) for line in lines)
        self._words = Counter(word for line in lines for word in _WORD.findall(line.text.lower()))

    def pages(self) -> Iterator[tuple[str, str]]:
        """Yield the text of each page and what separates it from the page before it."""
        last: _Line | None = None
        for lines in self._pages:
            separator = _LINE
            if last and lines:
                # a sentence may go on over the page, and words divided there stay so
                if self._is_heading(lines[0]):
                    separator = _SECTION
                elif _SENTENCE_END.search(last.text):
                    separator = _PARAGRAPH
            last = lines[-1] if lines else last
            yield separator, self._page_text(lines)

    def _page_text(self, lines: Sequence[_Line]) -> str:
        if not lines:
            return ""
        text = lines[0].text
        leading = self._leading(lines)
        for index, (line, following) in enumerate(pairwise(lines)):
            margin = max(
                (
                    item.right
                    for item in lines[max(0, index - 8) : index + 9]
                    if abs(item.left - line.left) < 4 * line.height and item.alike(line)
                ),
                default=line.right,  # of a damaged file, a line may have no height
            )
            separator = self._separator(line, following, margin, leading)
            if separator == _JOINED:
                text = text.removesuffix("-")
                separator = self._hyphen(text, following.text)
            text += separator + following.text
        return text

    def _separator(self, line: _Line, following: _Line, margin: float, leading: float) -> str:
        height = max(line.height, following.height)
        alike = line.alike(following)
        overlap = following.left < line.right and line.left < following.right
        below = line.base - following.base
        adjacent = overlap and 0 < below <= 1.3 * leading * height
        if line.divided or (line.text.endswith("-") and alike and following.text[:1].islower()):
            return _JOINED
        if self._is_heading(following):
            alike = alike and line.bold == following.bold
            return _SPACE if self._is_heading(line) and alike and adjacent else _SECTION
        if self._is_heading(line) or not alike:
            return _PARAGRAPH
        if _LIST_ITEM.match(following.text) or (line.is_row() and following.is_row()):
            return _LINE
        ended = bool(_SENTENCE_END.search(line.text))
        letter = (following.right - following.left) / len(following.text)
        # the next word had no room here, so the line was wrapped, not ended
        wrapped = line.right + letter * (len(following.text.partition(" ")[0]) + 1) > margin
        if not adjacent:
            in_next_column = not overlap or below < 0
            return _SPACE if in_next_column and wrapped and not ended else _PARAGRAPH
        if wrapped:
            indented = following.left - line.left > 0.8 * height
            return _PARAGRAPH if ended and indented else _SPACE
        return _PARAGRAPH if ended else _LINE

    def _is_heading(self, line: _Line) -> bool:
        return (
            (line.height > 1.12 * self._body or (line.bold and self._bold_means))
            and line.height > 0.85 * self._body
            and 3 <= len(line.text) <= _LONGEST_HEADING
            and not line.text.endswith(_NOT_AT_HEADING_END)
            and any(len(word) > 2 for word in _WORD.findall(line.text))
        )

    @staticmethod
    def _leading(lines: Sequence[_Line]) -> float:
        """Return how far apart lines usually are, in their heights."""
        steps = [(line.base - following.base) / max(line.height, 1) for line, following in pairwise(lines)]
        return median([step for step in steps if 0.8 < step < 2.5] or [1.3])

    def _hyphen(self, text: str, following: str) -> str:
        """Return "-" if the word divided between two lines has a hyphen elsewhere, too, else nothing."""
        left, right = text[-50:].lower().split()[-1:], following[:50].lower().split()[:1]
        left_word, right_word = (_WORD.findall(part[0]) if part else [] for part in (left, right))
        if not left_word or not right_word:
            return ""
        joined, divided = left_word[-1] + right_word[0], f"{left_word[-1]}-{right_word[0]}"
        return "-" if self._words[divided] > self._words[joined] else ""


def _scan_notice(numbers: Sequence[int], pages: int) -> tuple[str, ...]:
    if not numbers:
        return ()
    one = len(numbers) == 1
    return (
        f"{'Page' if one else 'Pages'} {_listed(numbers)} of {pages} {'has' if one else 'have'} no text: "
        f"{'it looks like a scan' if one else 'they look like scans'}. "
        "Run the file through text recognition (OCR) and upload the result.",
    )


def _listed(numbers: Sequence[int]) -> str:
    """Return "3, 5 to 7 and 9" for 3, 5, 6, 7, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
