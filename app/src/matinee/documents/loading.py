"""Turn files into documents. What a file holds decides how it is read, not what its name ends in."""

from dataclasses import replace
from pathlib import PurePath
from typing import NoReturn

from matinee.documents.document import MAX_CHARACTERS, Document, DocumentError, too_long
from matinee.documents.html import HTML_SUFFIXES, looks_like_html, read_html
from matinee.documents.names import safe_name
from matinee.documents.office import check_archive
from matinee.documents.pdf import read_pdf
from matinee.documents.slides import read_pptx
from matinee.documents.tables import TABLE_SUFFIXES, read_csv, read_xlsx
from matinee.documents.text import CODE_SUFFIXES, MARKDOWN_SUFFIXES, TEXT_SUFFIXES, decode, read_text
from matinee.documents.word import read_docx

_READERS = {".pdf": read_pdf, ".docx": read_docx, ".pptx": read_pptx, ".xlsx": read_xlsx}
SUFFIXES = (*_READERS, *MARKDOWN_SUFFIXES, *HTML_SUFFIXES, *TABLE_SUFFIXES, *TEXT_SUFFIXES, *CODE_SUFFIXES)

_PDF_WITHIN = 1024  # bytes; readers of PDF let other data stand before it
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ARCHIVE = "an archive. Unpack it and upload the files in it."
_PICTURE = "a picture. Run it through text recognition (OCR) and upload the result as PDF or text."
_SOUND = "sound or video. Upload a transcript of it as text."
_PROGRAM = "a program, which has no text to read."
_UNREADABLE = (
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ", _ARCHIVE),
    (b"7z\xbc\xaf", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"II*\x00", _PICTURE),
    (b"MM\x00*", _PICTURE),
    (b"ID3", _SOUND),
    (b"OggS", _SOUND),
    (b"fLaC", _SOUND),
    (b"\x7fELF", _PROGRAM),
    (b"MZ\x90", _PROGRAM),
    (b"\xca\xfe\xba\xbe", _PROGRAM),
    (b"\xcf\xfa\xed\xfe", _PROGRAM),
    (b"SQLite format 3", "a database. Export its tables as CSV."),
    (b"{\\rtf", "rich text. Open it in an office program and save it as DOCX or PDF."),
    (b"%!PS", "PostScript. Convert it to PDF."),
)
_OLD_OFFICE = (
    ("WordDocument", "DOCX"),
    ("Workbook", "XLSX"),
    ("Book", "XLSX"),
    ("PowerPoint Document", "PPTX"),
)


def load(name: str, data: bytes) -> Document:
    """Turn a file into a document, with a safe name.

    Raises:
        DocumentError: if the file holds no text that can be read, or more than can be searched.
    """
    name = safe_name(name)
    if not data:
        raise DocumentError(f"{name} is empty (0 bytes). Check the file and upload it again.")
    suffix = PurePath(name).suffix.lower()
    found = _recognise(name, suffix, data)
    document = _READERS[found](name, data) if found else _read_as_text(name, suffix, data)
    if not document.text.strip():
        raise DocumentError(f"{name} has no text in it.")
    if len(document.text) > MAX_CHARACTERS:
        raise too_long(name)
    if suffix in SUFFIXES and found != (suffix if suffix in _READERS else ""):
        what = f"a {found.removeprefix('.').upper()} file" if found else "plain text"
        document = replace(
            document, notices=(*document.notices, f"It is {what} in spite of its name, and was read as such.")
        )
    return document


def _recognise(name: str, suffix: str, data: bytes) -> str:
    """Return the suffix of the format that the data is in, "" for text.

    Raises:
        DocumentError: if it is a format that is not read.
    """
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return ".pdf"
    if data.startswith(b"PK\x03\x04"):
        return check_archive(name, data) or _refuse_archive(name, suffix, data)
    if data.startswith(_OLE):
        raise DocumentError(f"{name} {_what_ole_holds(data)}")
    if what := next((what for mark, what in _UNREADABLE if data.startswith(mark)), None):
        raise DocumentError(f"{name} is {what}")
    if data[4:8] == b"ftyp" or data[:4] == b"RIFF":
        raise DocumentError(f"{name} is {_PICTURE if data[8:12] in (b'WEBP', b'heic', b'avif') else _SOUND}")
    return ""


def _read_as_text(name: str, suffix: str, data: bytes) -> Document:
    text = decode(data)
    if text is None and suffix in _READERS:
        raise DocumentError(
            f"{name} is damaged: it does not begin as such a file does. Fetch or export it again."
        )
    if text is None:
        raise DocumentError(f"{name} does not read as text. If it is another kind of file, save it as PDF.")
    source = suffix in CODE_SUFFIXES or suffix in MARKDOWN_SUFFIXES
    if suffix in HTML_SUFFIXES or (looks_like_html(text) and not source):
        return read_html(name, text)
    return read_csv(name, text) if suffix in TABLE_SUFFIXES else read_text(name, suffix, text)


def _refuse_archive(name: str, suffix: str, data: bytes) -> NoReturn:
    if b"opendocument" in data[:200]:
        raise DocumentError(f"{name} is a LibreOffice file. Save it as DOCX, XLSX, PPTX or PDF.")
    if b"epub" in data[:200]:
        raise DocumentError(f"{name} is an e-book. Convert it to PDF or HTML.")
    if suffix in _READERS:
        raise DocumentError(
            f"{name} lacks parts of such a file. Open it in an office program and save it again."
        )
    raise DocumentError(f"{name} is {_ARCHIVE}")


def _what_ole_holds(data: bytes) -> str:
    """Say what a file of Microsoft's old container format is, by the names of its streams."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return "is protected by a password. Save a copy without the password and upload that."
    for stream, suffix in _OLD_OFFICE:
        if stream.encode("utf-16-le") in data:
            return f"is in a format of before 2007. Open it in an office program and save it as {suffix}."
    return "is in an old format of Microsoft's. Open it in the program it comes from and save it as PDF."
