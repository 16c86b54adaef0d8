"""Load documents and split them into passages. Every offset counts characters of the document's text."""

from matinee.documents.document import Document, DocumentError, Kind, Span
from matinee.documents.loading import SUFFIXES, load
from matinee.documents.names import safe_name
from matinee.documents.splitting import PASSAGE_TOKENS, split

__all__ = [
    "PASSAGE_TOKENS",
    "SUFFIXES",
    "Document",
    "DocumentError",
    "Kind",
    "Span",
    "load",
    "safe_name",
    "split",
]
