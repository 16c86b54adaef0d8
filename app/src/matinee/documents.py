"""Load documents and split them into passages. Every offset counts characters of the document's text."""

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import PurePath

import charset_normalizer
import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD
from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from matinee.errors import MatineeError

SUFFIXES = (".pdf", ".md", ".txt", ".markdown")
PASSAGE_TOKENS = 200  # fits the embedding model's window of 256 with room for what it adds
OVERLAP_TOKENS = 40
PAGE_BREAK = "\n"  # a sentence may go on over it
WRAPPED_SHARE = 0.6  # a line at least this long, against the page's long lines, was wrapped, not ended

_HYPHENATED = re.compile(r"(?<=\w)(?:\ufffe|\x02|\u00ad)\s*(?=\w)|(?<=[a-z])-\n(?=[a-z])")
NOT_TEXT = "{name} does not read as text. If it is another kind of file, save it as PDF."

_LIST_ITEM = re.compile(r"(?:[•▪●◦*–-]|\d{1,2}[.)])\s")
_SENTENCE_END = re.compile(r"[.!?:;,][\"”’)\]]*$")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


class DocumentError(MatineeError):
    """A file cannot become a document; the message says why and what would help."""


@dataclass(frozen=True)
class Document:
    """A loaded document: its whole text and, where it has pages, the offset at which each starts."""

    name: str
    text: str
    page_starts: tuple[int, ...] = ()

    @property
    def is_markdown(self) -> bool:
        """Whether the text is Markdown source."""
        return self.name.lower().endswith((".md", ".markdown"))

    def page_at(self, offset: int) -> int | None:
        """Return the number of the page, from 1, which holds the character at `offset`."""
        return bisect_right(self.page_starts, offset) if self.page_starts else None


@dataclass(frozen=True)
class Span:
    """Where a passage stands: `document.text[start:end]`, on pages `page` to `last_page`."""

    start: int
    end: int
    page: int | None
    last_page: int | None


def load(name: str, data: bytes) -> Document:
    """Turn a file into a document.

    Raises:
        DocumentError: if the file holds no text that can be read.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in SUFFIXES:
        kind = f"a {suffix} file" if suffix else "a file without an extension"
        raise DocumentError(f"{name} is {kind}. Save it as PDF, Markdown or plain text, which Matinee reads.")
    if not data:
        raise DocumentError(f"{name} is empty (0 bytes). Check the file and upload it again.")
    if suffix == ".pdf":
        return _load_pdf(name, data)
    text = _decode(name, data)
    if not text.strip():
        raise DocumentError(f"{name} has no text in it, only white space.")
    return Document(name, text)


def split(document: Document, tokenizer: Tokenizer) -> list[Span]:
    """Split a document at its headings, paragraphs and sentences into overlapping passages.

    Args:
        document: what to split.
        tokenizer: counts the tokens of a passage; must not truncate.
    """
    splitter_class = MarkdownSplitter if document.is_markdown else TextSplitter
    splitter = splitter_class.from_huggingface_tokenizer(tokenizer, PASSAGE_TOKENS, overlap=OVERLAP_TOKENS)
    return [
        Span(start, start + len(chunk), document.page_at(start), document.page_at(start + len(chunk) - 1))
        for start, chunk in splitter.chunk_indices(document.text)
    ]


def _load_pdf(name: str, data: bytes) -> Document:
    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code == FPDF_ERR_PASSWORD:
            raise DocumentError(
                f"{name} is protected by a password. Save a copy without the password and upload that."
            ) from None
        raise DocumentError(
            f"{name} is damaged or cut short and does not open as a PDF. Fetch or export it again."
        ) from None
    try:
        pages = [_page_text(name, pdf, index) for index in range(len(pdf))]
    finally:
        pdf.close()
    if not any(pages):
        plural = "page" if len(pages) == 1 else "pages"
        raise DocumentError(
            f"{name} has {len(pages)} {plural} but no text: it looks like a scan. "
            "Run it through text recognition (OCR) and upload the result."
        )
    starts = accumulate((len(page) + len(PAGE_BREAK) for page in pages[:-1]), initial=0)
    return Document(name, PAGE_BREAK.join(pages), tuple(starts))


def _page_text(name: str, pdf: pypdfium2.PdfDocument, index: int) -> str:
    try:
        page = pdf[index]
        text_page = page.get_textpage()
        raw = text_page.get_text_range()
        text_page.close()
        page.close()
    except pypdfium2.PdfiumError:
        raise DocumentError(
            f"{name} is damaged: its page {index + 1} of {len(pdf)} cannot be read. Fetch or export it again."
        ) from None
    return _unwrap(_clean(raw))


def _clean(text: str) -> str:
    """Normalise line ends, join words divided at a line's end, drop what cannot be printed."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub("", _HYPHENATED.sub("", text)).strip()


def _unwrap(text: str) -> str:
    """Join the lines of a paragraph, which a PDF stores one by one; headings and list items stay apart."""
    lines = [line.rstrip() for line in text.split("\n")]
    lengths = sorted(len(line) for line in lines if line)
    if not lengths:
        return ""
    long_line = lengths[int(0.9 * (len(lengths) - 1))]
    joined = lines[0]
    for previous, line in pairwise(lines):
        was_long, is_long = (len(item) >= WRAPPED_SHARE * long_line for item in (previous, line))
        had_ended, ends = (bool(_SENTENCE_END.search(item)) for item in (previous, line))
        if _LIST_ITEM.match(line):
            joined += "\n"
        elif had_ended and not is_long and not ends:
            joined += "\n\n\n"  # before a heading: the more line breaks, the better a place to split
        elif not was_long and not had_ended:
            joined += "\n\n"  # after one
        else:
            joined += " " if was_long else "\n"
        joined += line
    return joined


def _decode(name: str, data: bytes) -> str:
    """Decode text in whatever encoding it is in, UTF-8 first."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        guess = charset_normalizer.from_bytes(data).best()
        if guess is None:
            raise DocumentError(NOT_TEXT.format(name=name)) from None
        text = str(guess)
    if "\x00" in text:
        raise DocumentError(NOT_TEXT.format(name=name))
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
