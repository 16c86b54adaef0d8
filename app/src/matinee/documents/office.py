"""What office files have in common: they are zip archives of XML, from strangers."""

import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO

from matinee.documents.document import DocumentError

MAX_UNPACKED = 250_000_000  # bytes of all that is in an archive
MAX_XML = 60_000_000  # bytes of one part, as it is kept in memory at several times its size
MAX_RATIO = 200  # unpacked to packed; real files stay under 50
MAX_PARTS = 20_000
_RATIO_FROM = 10_000_000  # bytes; a small file may well be very regular

_FORMATS = {
    b"wordprocessingml.document.main+xml": ".docx",
    b"presentationml.presentation.main+xml": ".pptx",
    b"presentationml.slideshow.main+xml": ".pptx",
    b"spreadsheetml.sheet.main+xml": ".xlsx",
    b"ms-excel.sheet.macroEnabled.main+xml": ".xlsx",
    b"ms-powerpoint.presentation.macroEnabled.main+xml": ".pptx",
}
_DECLARATIONS = tuple(
    word.encode(encoding)
    for word in ("<!DOCTYPE", "<!ENTITY")
    for encoding in ("utf-8", "utf-16-le", "utf-16-be")
)
_LONGEST_DECLARATION = max(map(len, _DECLARATIONS))


def check_archive(name: str, data: bytes) -> str | None:
    """Return the format of an office file by what is in it, or None if the archive holds something else.

    Raises:
        DocumentError: if the archive is damaged, or would take too much to unpack, or declares XML entities.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            parts = archive.infolist()
            _check_size(name, parts)
            for part in parts:
                if part.filename.endswith((".xml", ".rels", ".vml")):
                    _check_xml(name, archive, part)
            if "[Content_Types].xml" not in archive.namelist():
                return None
            content_types = archive.read("[Content_Types].xml")
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, zlib.error):
        raise damaged(name) from None
    return next((suffix for mark, suffix in _FORMATS.items() if mark in content_types), None)


def damaged(name: str) -> DocumentError:
    """Return the error of an office file whose parts do not fit together."""
    return DocumentError(f"{name} is damaged or cut short. Fetch or export it again.")


def _check_size(name: str, parts: Sequence[zipfile.ZipInfo]) -> None:
    # an archive's reader stops at the size it tells, so these sizes are a promise that is kept
    unpacked, packed = sum(part.file_size for part in parts), sum(part.compress_size for part in parts)
    if (
        len(parts) > MAX_PARTS
        or unpacked > MAX_UNPACKED
        or unpacked > max(_RATIO_FROM, MAX_RATIO * packed)
        or any(part.file_size > MAX_XML for part in parts if part.filename.endswith(".xml"))
    ):
        raise DocumentError(
            f"{name} unpacks to {unpacked / 1e6:,.0f} MB, which is more than can be read safely. "
            "Divide it into smaller files, or export it as PDF."
        )


def _check_xml(name: str, archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    with archive.open(part) as content:
        tail = b""
        while chunk := content.read(1 << 20):
            if any(word in tail + chunk for word in _DECLARATIONS):
                raise DocumentError(
                    f"{name} declares XML entities, which no office program writes and which can do harm. "
                    "It was not read; open it in an office program and save it again."
                )
            tail = chunk[-_LONGEST_DECLARATION:]
