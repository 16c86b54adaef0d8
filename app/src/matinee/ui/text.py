"""Small texts for the page."""

import re
from datetime import UTC, datetime

from matinee.answer import UNSUPPORTED_MARK

_ID = re.compile(r"[0-9]{1,18}")  # SQLite has no larger ones
_MARKS = re.compile(rf"\s*(?:\[\d+\]|{UNSUPPORTED_MARK})")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_TYPOGRAPHY = re.compile(r"(?<!\S)([<>~-])(?=[->=]+(?!\S))")  # Streamlit makes an arrow of "->" and the like


def escape_markdown(text: str) -> str:
    """Return Markdown that shows the text as it is; names and messages come from files, people and APIs."""
    return _PUNCTUATION.sub(r"\\\1", _TYPOGRAPHY.sub("\\1\N{WORD JOINER}", text))


def id_in(address: str) -> int | None:
    """Return the id which a part of an address names, if it can be one."""
    return int(address) if _ID.fullmatch(address) else None


def without_marks(text: str) -> str:
    """Return an answer's text without its citations, whose numbers mean nothing in another answer."""
    return _MARKS.sub("", text)


def count(number: int, noun: str) -> str:
    """Return "1 page", "2 pages"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def file_size(size: int) -> str:
    """Return a size in bytes as people read it."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def names(items: list[str], limit: int = 8) -> str:
    """Return "a, b, c and 5 more"."""
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def day(time: datetime) -> str:
    """Return a day as people read it."""
    return f"{time.astimezone(UTC):%-d %b %Y}"
