"""Tables: each row becomes a line which names its cells, so that it answers a question by itself."""

from __future__ import annotations

import csv
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from io import BytesIO, StringIO
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from matinee.documents.document import MAX_CHARACTERS, Document, DocumentError, Kind, too_long
from matinee.documents.office import damaged
from matinee.documents.text import clean

if TYPE_CHECKING:
    from openpyxl import Workbook

TABLE_SUFFIXES = (".csv", ".tsv")
MAX_ROWS = 1_048_576  # of a sheet, as in Excel
MAX_COLUMNS = 1000  # a row's further cells are left out
MAX_CELLS = 20_000_000  # of a workbook, empty ones between others included
HEADER_WITHIN = 10  # rows; above the header a sheet may have a title and remarks
SHEET_BREAK = "\n\n"
LONGEST_LABEL = 100  # characters of a column's name
DELIMITERS = ",;\t|"
_SAMPLE = 16_384  # characters to recognise the delimiter from
_YEAR = re.compile(r"(?:19|20)\d\d")
_VALUE = re.compile(r"[\s\d.,:/%€$£¥+-]*")

type Row = Sequence[str]


def read_csv(name: str, text: str) -> Document:
    """Return the document of comma-, semicolon-, tab- or bar-separated values."""
    csv.field_size_limit(MAX_CHARACTERS)
    rows = csv.reader(StringIO(text, newline=""), delimiter=_delimiter(text))
    lines = _lines([_cell(cell) for cell in row] for row in rows)
    return Document(name, "\n".join(_within_limit(name, lines)), Kind.TABLE)


def read_xlsx(name: str, data: bytes) -> Document:
    """Return the document of a workbook; each sheet is a page."""
    import openpyxl

    try:
        values = openpyxl.load_workbook(BytesIO(data), read_only=True, data_only=True)
        formulas = openpyxl.load_workbook(BytesIO(data), read_only=True) if _has_formulas(data) else None
        sheets = list(_within_limit(name, _sheets(name, values, formulas)))
    except DocumentError:
        raise
    except Exception:  # openpyxl trusts its files: a damaged one raises whatever its parts run into
        raise damaged(name) from None
    starts, length = [], 0
    for sheet in sheets:
        starts.append(length)
        length += len(sheet) + len(SHEET_BREAK)
    return Document(name, SHEET_BREAK.join(sheets), Kind.TABLE, tuple(starts), tuple(values.sheetnames))


def _sheets(name: str, values: Workbook, formulas: Workbook | None) -> Iterator[str]:
    """Yield the text of each sheet."""
    for sheet in values.sheetnames:
        rows = _rows(name, values[sheet])
        if formulas:
            # a formula whose value was not stored is better than nothing
            rows = (
                [value if value is not None else formula for value, formula in zip(row, other, strict=False)]
                for row, other in zip(rows, _rows(name, formulas[sheet]), strict=False)
            )
        lines = _lines([_cell(value) for value in row] for row in rows)
        yield "\n".join(_within_limit(name, (f"{sheet} | {line}" for line in lines)))


def _rows(name: str, sheet: Any) -> Iterator[Sequence[Any]]:  # noqa: ANN401 - one of several classes
    if not hasattr(sheet, "reset_dimensions"):
        return  # a sheet that holds a chart
    sheet.reset_dimensions()  # which are often claimed too large
    cells = 0
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        cells += len(row) + 1
        if number > MAX_ROWS or cells > MAX_CELLS:
            raise DocumentError(
                f"{name} has more than {MAX_CELLS // 1_000_000} million cells, or a sheet of more than "
                f"{MAX_ROWS:,} rows. Save what is to be read of it as a smaller file."
            )
        yield row[:MAX_COLUMNS]


def _has_formulas(data: bytes) -> bool:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        sheets = [part for part in archive.namelist() if part.startswith("xl/worksheets/")]
        return any(b"<f>" in (xml := archive.read(sheet)) or b"<f " in xml for sheet in sheets)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "minutes")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case float():
            return f"{value:.15g}"  # without the binary fraction's last digits
        case _:
            return " ".join(clean(str(value)).split())


def _lines(table: Iterable[Row]) -> Iterator[str]:
    """Yield one line for each row that is not empty, its cells named by the header if there is one."""
    rows = (row for row in table if any(row))
    top = list(islice(rows, HEADER_WITHIN))
    width = max(map(len, top), default=0)
    header = next(
        (index for index in range(len(top) - 1) if _is_header(top[index], top[index + 1], width)), None
    )
    labels: Row = () if header is None else top[header]
    for index, row in enumerate(chain(top, rows)):
        if index == header:
            continue
        named = chain(labels if header is not None and index > header else (), repeat(""))
        yield "; ".join(
            f"{label}: {cell}" if label else cell for label, cell in zip(named, row, strict=False) if cell
        )


def _is_header(row: Row, following: Row, width: int) -> bool:
    """Tell whether a row names columns: short, distinct and no values, other than years over other values."""
    names = [cell for cell in row if cell]
    return (
        len(names) >= max(2, width * 0.6)
        and len(set(names)) == len(names)
        and all(
            len(cell) <= LONGEST_LABEL
            and (not _VALUE.fullmatch(cell) or (_YEAR.fullmatch(cell) and not _YEAR.fullmatch(below)))
            for cell, below in zip(row, chain(following, repeat("")), strict=False)
            if cell
        )
    )


def _delimiter(text: str) -> str:
    """Return the delimiter by which most of the first rows have the same number of cells, and many."""
    lines = text[:_SAMPLE].split("\n")[:50]
    lines = lines[:-1] or lines  # the last one may be cut

    def cells(delimiter: str) -> int:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        return max((rows * (count - 1) for count, rows in counts.items()), default=0)

    return max(DELIMITERS, key=cells)


def _within_limit(name: str, texts: Iterable[str]) -> Iterator[str]:
    length = 0
    for text in texts:
        length += len(text)
        if length > MAX_CHARACTERS:
            raise too_long(name)
        yield text
