"""Slides: each is a page with its title, texts, tables and notes."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from matinee.documents.document import Document, Kind
from matinee.documents.office import damaged
from matinee.documents.text import clean
from matinee.documents.word import markdown_table

SLIDE_BREAK = "\n\n"


def read_pptx(name: str, data: bytes) -> Document:
    """Return the document of a .pptx file."""
    import pptx

    try:
        slides = [clean(_slide_text(slide)) for slide in pptx.Presentation(BytesIO(data)).slides]
    except Exception:  # python-pptx trusts its files: a damaged one raises whatever its parts run into
        raise damaged(name) from None
    starts, length = [], 0
    for slide in slides:
        starts.append(length)
        length += len(slide) + len(SLIDE_BREAK)
    return Document(name, SLIDE_BREAK.join(slides), Kind.SLIDES, tuple(starts))


def _slide_text(slide: Any) -> str:  # noqa: ANN401 - python-pptx has no types
    title = slide.shapes.title
    blocks = [title.text_frame.text] if title is not None else []
    blocks += (block for shape in slide.shapes if shape != title for block in _shape_blocks(shape))
    if (
        slide.has_notes_slide
        and (notes := slide.notes_slide.notes_text_frame) is not None
        and notes.text.strip()
    ):
        blocks.append(f"Notes: {notes.text}")
    return "\n\n".join(block.strip() for block in blocks if block.strip())


def _shape_blocks(shape: Any) -> Iterator[str]:  # noqa: ANN401
    if hasattr(shape, "shapes"):  # a group
        for member in shape.shapes:
            yield from _shape_blocks(member)
    elif getattr(shape, "has_table", False):
        yield markdown_table([cell.text for cell in row.cells] for row in shape.table.rows)
    elif getattr(shape, "has_chart", False):
        yield from _chart_blocks(shape.chart)
    elif shape.has_text_frame:
        paragraphs = [item for item in shape.text_frame.paragraphs if item.text.strip()]
        mark = "- " if len(paragraphs) > 1 else ""
        yield "\n".join(f"{'  ' * item.level}{mark}{item.text}" for item in paragraphs)


def _chart_blocks(chart: Any) -> Iterator[str]:  # noqa: ANN401
    if chart.has_title and chart.chart_title.has_text_frame:
        yield chart.chart_title.text_frame.text
    for plot in chart.plots:
        names = [str(category) for category in plot.categories]
        yield markdown_table(
            [["", *names], *([series.name, *map(str, series.values)] for series in plot.series)]
        )
