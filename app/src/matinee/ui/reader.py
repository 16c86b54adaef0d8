"""One document: what is known of it, its pages or its text, and the passage somebody came for."""

import re
from collections.abc import Sequence

import streamlit as st

from matinee.documents import Kind
from matinee.stores.truth import StoredDocument
from matinee.ui.passage import Range, draw_page, marked_html
from matinee.ui.text import count, day, escape_markdown, file_size, id_in
from matinee.workspace import Workspace

PART = 20_000  # characters shown at once of a document without pages

SCROLL = """
<script>
requestAnimationFrame(() => document.querySelector("mark")?.scrollIntoView({block: "nearest"}));
</script>
"""


def draw(workspace: Workspace) -> None:
    """Draw the document which the address names."""
    named = id_in(st.query_params.get("id", ""))
    document = workspace.document(named) if named else None
    if document is None:
        st.title("No such document", anchor=False)
        st.markdown("It was removed, or it is somebody's own. Choose one under Documents.")
        return
    _draw_head(workspace, document)
    passages = workspace.passages(document.id)
    wanted = st.query_params.get("passage", "")
    passage = next((passage for passage in passages if str(passage.id) == wanted), None)
    if wanted and passage is None:
        st.warning(
            "This passage is not in the document any more: it was replaced since. Ask again for the new one.",
            icon=":material/warning:",
        )
    quotes = _ranges(st.query_params.get("marked", "")) if passage else []
    marked = quotes or ([(passage.start, passage.end)] if passage else [])
    sections = _sections(workspace, document, passages[-1].end if passages else 0)
    before = [number for number, (start, _) in enumerate(sections, 1) if marked and start <= marked[0][0]]
    first = max(before, default=1)
    unit = {Kind.SLIDES: "Slide", Kind.TABLE: "Sheet"}.get(
        document.kind, "Page" if document.pages else "Part"
    )
    number = 1
    if len(sections) > 1:
        number = st.pagination(len(sections), default=first, key=f"section-{document.id}-{wanted}")
        name = f": {document.page_names[number - 1]}" if document.page_names else ""
        st.markdown(f"## {unit} {number} of {len(sections)}{escape_markdown(name)}", anchors=False)
    _draw_section(workspace, document, number, sections[number - 1], marked)
    if marked:
        st.html(SCROLL, unsafe_allow_javascript=True)


def _draw_head(workspace: Workspace, document: StoredDocument) -> None:
    st.title(escape_markdown(document.name), anchor=False)
    st.caption(facts(document))
    for notice in document.notices:
        st.warning(escape_markdown(notice), icon=":material/warning:")
    st.download_button(
        f"Download {escape_markdown(document.name)}",
        lambda: workspace.file(document.id) or b"",
        document.name,
        "application/octet-stream",
        icon=":material/download:",
        on_click="ignore",
    )


def facts(document: StoredDocument) -> str:
    """Return what is known of a document, as Markdown on one line."""
    unit = {Kind.SLIDES: "slide", Kind.TABLE: "sheet"}.get(document.kind, "page")
    parts = [
        escape_markdown(document.collection),
        *([count(document.pages, unit)] if document.pages else []),
        count(document.passages, "passage"),
        file_size(document.size),
        f"added {day(document.added)}",
        *([f"from {escape_markdown(document.origin)}"] if document.origin else []),
    ]
    tags = "".join(f" :gray-badge[{escape_markdown(tag)}]" for tag in document.tags)
    return " · ".join(parts) + tags


def _draw_section(
    workspace: Workspace, document: StoredDocument, number: int, section: Range, marked: Sequence[Range]
) -> None:
    if document.kind is Kind.PDF:
        st.html('<span class="matinee-wide"></span>')
    start, end = section
    text = workspace.text(document.id, start, end)
    passage = (marked[0][0], marked[-1][1]) if marked else (start, start)
    shown = marked_html(text, start, passage, marked)
    if document.kind is not Kind.PDF:
        st.html(shown)
        return
    quotes = [
        workspace.text(document.id, first, last) for first, last in marked if first < end and last > start
    ]
    picture, words = st.columns([3, 2], gap="medium")
    with picture:
        draw_page(workspace, document.id, document.name, number, quotes)
    with words:
        st.markdown("### Text of this page", anchors=False)
        st.html(shown)


def _sections(workspace: Workspace, document: StoredDocument, length: int) -> list[Range]:
    """Return where each page starts and ends, or each part of a document without pages."""
    starts = workspace.page_starts(document.id) or range(0, max(length, 1), PART)
    return list(zip(starts, [*starts[1:], max(length, starts[-1])], strict=True))


def _ranges(marked: str) -> list[Range]:
    """Read "10-20.30-40"; what is not like it marks nothing."""
    return [(int(start), int(end)) for start, end in re.findall(r"(\d{1,9})-(\d{1,9})", marked)]
