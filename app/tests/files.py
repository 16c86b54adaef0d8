"""Real files to upload."""

from collections.abc import Sequence
from io import BytesIO

from fpdf import FPDF
from fpdf.enums import AccessPermission
from PIL import Image, ImageDraw

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
