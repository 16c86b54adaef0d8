"""Show a passage in its place."""

import html
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from urllib.parse import urlencode

import streamlit as st

from matinee.answer import Citation
from matinee.documents import DocumentError, Kind
from matinee.stores.conversations import place
from matinee.stores.truth import Passage
from matinee.ui.text import escape_markdown
from matinee.workspace import Workspace

CONTEXT = 250  # characters shown before and after what is quoted

type Range = tuple[int, int]


def source(passage: Passage) -> str:
    """Return the document's name and the place in it, such as "guide.pdf, page 3"."""
    return ", ".join(filter(None, (passage.document_name, place(passage))))


def address(citation: Citation) -> str:
    """Return the address of the page that shows a cited passage in its document."""
    passage = citation.passage
    quotes = citation.quotes or ((passage.start, passage.end),)
    marked = ".".join(f"{start}-{end}" for start, end in quotes)
    return "document?" + urlencode({"id": passage.document_id, "passage": passage.id, "marked": marked})


def draw(workspace: Workspace, citation: Citation) -> None:
    """Draw a cited passage within the text around it; of a PDF, its page, too."""
    passage = citation.passage
    name = escape_markdown(source(passage))
    if workspace.text(passage.document_id, passage.start, passage.end) != passage.text:
        st.caption("The document has been changed or removed since. This is the passage as it was.")
        st.html(marked_html(passage.text, passage.start, (passage.start, passage.end), citation.quotes))
        return
    ranges = citation.quotes or ((passage.start, passage.end),)
    begin, end = ranges[0][0], ranges[-1][1]
    first = max(0, begin - CONTEXT)
    text = workspace.text(passage.document_id, first, end + CONTEXT)
    cut = text.find(" ", 0, begin - first) + 1 if first else 0  # begin and end with a whole word
    if len(text) == end + CONTEXT - first:
        text = text[: max(text.rfind(" "), end - first)]
    st.html(marked_html(text[cut:], first + cut, (passage.start, passage.end), citation.quotes))
    st.markdown(f"[Open {name} in a new tab]({address(citation)})")
    if passage.kind is Kind.PDF:
        starts = workspace.page_starts(passage.document_id)
        quotes = [workspace.text(passage.document_id, *quote) for quote in ranges]
        for page in sorted({bisect_right(starts, at) for start, end in ranges for at in (start, end - 1)}):
            draw_page(workspace, passage.document_id, passage.document_name, page, quotes)


def draw_page(workspace: Workspace, document_id: int, name: str, page: int, quotes: Sequence[str]) -> None:
    """Draw a page of a PDF with the quotes highlighted."""
    try:
        picture = workspace.page_picture(document_id, page, quotes)
    except DocumentError as error:
        st.warning(escape_markdown(str(error)), icon=":material/warning:")
        return
    if picture:
        highlighted = " with the passage highlighted" if quotes else ""
        st.image(picture, width="stretch", alt=f"Page {page} of {name}{highlighted}")


def marked_html(text: str, offset: int, passage: Range, quotes: Sequence[Range] = ()) -> str:
    """Return text as HTML, with the passage marked in it and in that what the answer quotes.

    Args:
        text: what is shown.
        offset: where it starts in the document.
        passage: where the passage starts and ends in the document.
        quotes: where each quote does.
    """
    edges = {*passage, *(edge for quote in quotes for edge in quote)}
    cuts = sorted({0, len(text), *(min(max(edge - offset, 0), len(text)) for edge in edges)})
    parts = []
    for start, end in pairwise(cuts):
        piece = html.escape(text[start:end])
        if any(first <= start + offset < last for first, last in quotes):
            piece = f'<mark class="quote">{piece}</mark>'
        elif passage[0] <= start + offset < passage[1]:
            piece = f"<mark>{piece}</mark>"
        parts.append(piece)
    return f'<p class="matinee-passage">{re.sub(r"\n{3,}", "\n\n", "".join(parts))}</p>'
