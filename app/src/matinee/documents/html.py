"""Web pages: their headings, text and tables as Markdown, without what is only there for the browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from matinee.documents.document import Document, DocumentError, Kind
from matinee.documents.text import clean

if TYPE_CHECKING:
    from bs4 import Tag

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
MAX_TAGS = 300_000  # a tag takes up about a thousand bytes of memory
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*\n")
_INVISIBLE = (
    "script", "style", "noscript", "template", "svg", "math", "canvas", "iframe", "object", "embed", "audio",
    "video", "nav", "footer", "aside", "button", "input", "select", "textarea", "head", "dialog",
)  # fmt: skip


def looks_like_html(text: str) -> bool:
    """Tell whether a text is a whole web page."""
    start = text[:1000].lstrip().lower()
    return start.startswith(("<!doctype html", "<html"))


def read_html(name: str, text: str) -> Document:
    """Return the document of a web page."""
    import bs4

    if text.count("<") > MAX_TAGS:
        raise DocumentError(
            f"{name} has more than {MAX_TAGS:,} HTML tags. Save what is to be read of it as text or PDF."
        )
    soup = bs4.BeautifulSoup(text, "lxml")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for element in [
        *soup.find_all(_INVISIBLE),
        *soup.select("[hidden], [aria-hidden=true], [role=navigation]"),
    ]:
        element.decompose()
    for comment in soup.find_all(string=lambda string: isinstance(string, bs4.element.PreformattedString)):
        comment.extract()
    markdown = _markdown(soup.main or soup)
    if title and f"# {title}" not in markdown:
        markdown = f"# {title}\n\n{markdown}"
    return Document(name, markdown, Kind.MARKDOWN)


def _markdown(element: Tag) -> str:
    import markdownify

    converter = markdownify.MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=["a", "img"],  # their text stays
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
    )
    try:
        markdown = converter.convert_soup(element)
    except RecursionError:  # some hundred elements deep, where structure says nothing any more
        markdown = element.get_text("\n")
    return _BLANK_LINES.sub("\n\n", clean(markdown)).strip()
