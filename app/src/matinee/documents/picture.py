"""The page of a PDF as a picture with quotes highlighted."""

import ctypes
import unicodedata
from collections.abc import Iterator, Sequence
from io import BytesIO

import pypdfium2
from PIL import Image, ImageChops
from pypdfium2 import raw

from matinee.documents.document import DocumentError
from matinee.documents.pdf import PDFIUM

WIDTH = 1000  # pixels
MAX_HEIGHT = 3000
YELLOW = (255, 236, 120)
SHORTEST_PART = 16  # letters of a quote that goes on on another page; fewer might stand anywhere
LONGEST_QUOTE = 10_000
_MARGIN = 2  # pixels around the letters


def draw_page(data: bytes, page: int, quotes: Sequence[str]) -> bytes:
    """Draw a page of a PDF with what it has of the quotes highlighted.

    Args:
        data: the PDF.
        page: the page's number, from 1.
        quotes: texts as loading returns them, whose white space and hyphens may differ from the page's.

    Returns:
        A PNG, WIDTH pixels wide unless that made it too high.

    Raises:
        DocumentError: if there is no such page or it cannot be drawn.
    """
    try:
        with PDFIUM:
            pdf = pypdfium2.PdfDocument(data)
            try:
                image = _draw(pdf[page - 1], quotes) if 1 <= page <= len(pdf) else None
            finally:
                pdf.close()
    except (pypdfium2.PdfiumError, MemoryError):
        raise DocumentError(f"Page {page} cannot be drawn: the PDF is damaged. Upload it again.") from None
    if image is None:
        raise DocumentError(f"The PDF has no page {page}.")
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _draw(page: pypdfium2.PdfPage, quotes: Sequence[str]) -> Image.Image:
    page_width, page_height = page.get_size()
    scale = min(WIDTH / max(page_width, 1), MAX_HEIGHT / max(page_height, 1))
    width, height = max(1, round(page_width * scale)), max(1, round(page_height * scale))
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, raw.FPDF_ANNOT)
    image = bitmap.to_pil().convert("RGB")  # a copy, as the bitmap goes
    bitmap.close()
    text_page = page.get_textpage()
    for start, count in _find(text_page, quotes):
        for box in _boxes(page, text_page, start, count, (width, height)):
            part = image.crop(box)
            image.paste(ImageChops.multiply(part, Image.new("RGB", part.size, YELLOW)), box)
    text_page.close()
    page.close()
    return image


def _find(text_page: pypdfium2.PdfTextPage, quotes: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the page's characters which are parts of quotes."""
    letters, indices = [], []
    for index in range(text_page.count_chars()):
        for letter in _letters(chr(raw.FPDFText_GetUnicode(text_page, index))):
            letters.append(letter)
            indices.append(index)
    page_text = "".join(letters)
    for quote in quotes:
        sought = _letters(quote[:LONGEST_QUOTE])
        shortest = min(SHORTEST_PART, len(sought)) or 1
        position, after = 0, 0
        while position + shortest <= len(sought):
            part = sought[position : position + shortest]
            start = page_text.find(part, after)
            start = page_text.find(part) if start < 0 else start
            if start < 0:
                position += 1
                continue
            length = shortest
            while sought[position + length : position + length + 1] == page_text[
                start + length : start + length + 1
            ] and position + length < len(sought):
                length += 1
            yield indices[start], indices[start + length - 1] - indices[start] + 1
            position, after = position + length, start + length


def _letters(text: str) -> str:
    """Return what of a text is the same however it is set: letters and digits, ligatures taken apart."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text).casefold() if letter.isalnum())


def _boxes(
    page: pypdfium2.PdfPage,
    text_page: pypdfium2.PdfTextPage,
    start: int,
    count: int,
    size: tuple[int, int],
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of a range of characters, one for each line, in pixels."""
    for index in range(text_page.count_rects(start, count)):
        left, bottom, right, top = text_page.get_rect(index)
        (x1, y1), (x2, y2) = (_pixel(page, x, y, size) for x, y in ((left, top), (right, bottom)))
        box = (
            max(0, min(x1, x2) - _MARGIN),
            max(0, min(y1, y2) - _MARGIN),
            min(size[0], max(x1, x2) + _MARGIN),
            min(size[1], max(y1, y2) + _MARGIN),
        )
        if box[0] < box[2] and box[1] < box[3]:
            yield box


def _pixel(page: pypdfium2.PdfPage, x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
    """Return where a point of the page is in its picture, whatever the page's rotation and crop."""
    pixel_x, pixel_y = ctypes.c_int(), ctypes.c_int()
    raw.FPDF_PageToDevice(page, 0, 0, *size, 0, x, y, pixel_x, pixel_y)
    return pixel_x.value, pixel_y.value
