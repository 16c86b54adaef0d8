"""Real files to upload."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import docx as python_docx
import openpyxl
import pptx as python_pptx
from docx.document import Document as WordDocument
from fpdf import FPDF
from fpdf.enums import AccessPermission
from PIL import Image, ImageDraw
from pptx.presentation import Presentation

HARBOUR = (
    "The harbour of Lindow was dredged in 1874, after two grain ships had run aground at its mouth. "
    "The work took nine months and was paid for by a toll on coal. "
    "Since then the channel has been kept at a depth of six metres."
)
LIGHTHOUSE = (
    "The lighthouse stands on the northern mole. Its lamp was first lit in 1881 and burned rape oil. "
    "In 1932 the lamp was replaced by an electric one, which can be seen from eighteen miles away."
)


def pdf(*pages: str, password: str | None = None) -> bytes:
    """Return a PDF with one page for each text."""
    document = FPDF()
    document.set_font("Times", size=12)
    for text in pages:
        document.add_page()
        document.multi_cell(0, 6, text)
    if password:
        document.set_encryption(
            owner_password=password, user_password=password, permissions=AccessPermission.none()
        )
    return bytes(document.output())


def scanned_pdf(lines: Sequence[str]) -> bytes:
    """Return a PDF whose one page is a picture of text, as a scanner makes it."""
    picture = Image.new("L", (1240, 1754), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((100, 100 + 40 * number), line, fill="black")
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    document = FPDF()
    document.add_page()
    document.image(buffer, 0, 0, 210)
    return bytes(document.output())


def docx(write: Callable[[WordDocument], object]) -> bytes:
    """Return a Word document which `write` has filled."""
    document = python_docx.Document()
    write(document)
    buffer = BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def pptx(write: Callable[[Presentation], object]) -> bytes:
    """Return slides which `write` has made."""
    presentation = python_pptx.Presentation()
    write(presentation)
    buffer = BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def xlsx(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    """Return a workbook with the rows of each sheet."""
    workbook = openpyxl.Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    buffer = BytesIO()
    workbook.save(buffer)
    return buffer.getvalue()
