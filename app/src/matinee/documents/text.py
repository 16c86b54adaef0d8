"""Plain text, Markdown and source code, in whatever encoding they are in."""

import re

import charset_normalizer

from matinee.documents.document import Document, Kind

MARKDOWN_SUFFIXES = (".md", ".markdown", ".mdx")
TEXT_SUFFIXES = (".txt", ".text", ".rst", ".adoc", ".org", ".tex", ".srt", ".vtt")
CODE_SUFFIXES = (
    ".py", ".pyi", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".vue", ".svelte", ".css", ".scss", ".java", ".kt",
    ".scala", ".groovy", ".gradle", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".fs", ".go", ".rs", ".swift",
    ".m", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".dart", ".ex", ".exs", ".erl", ".hs", ".ml", ".clj",
    ".lisp", ".sh", ".bash", ".zsh", ".fish", ".ps1", ".bat", ".sql", ".graphql", ".proto", ".tf", ".hcl",
    ".nix", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".properties", ".xml",
    ".log", ".diff",
)  # fmt: skip

SAMPLE_BYTES = 64 * 1024  # enough to guess an encoding from
MOST_CONTROLS = 0.01  # the share of control characters above which data is not text
ENCODINGS = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256",
    "shift_jis", "euc_jp", "iso2022_jp", "gb18030", "big5", "euc_kr", "mac_roman",
)  # fmt: skip
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


def clean(text: str) -> str:
    """Make every line end a newline and drop what cannot be printed."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n"))


def decode(data: bytes) -> str | None:
    """Decode text in whatever encoding it is in; None if it is not text."""
    encoding = _encoding(data)
    if encoding is None:
        return None
    text = data.decode(encoding, errors="replace")
    sample = text[:SAMPLE_BYTES]
    unreadable = len(_UNPRINTABLE.findall(sample)) + sample.count("\ufffd")
    return None if unreadable > MOST_CONTROLS * len(sample) else clean(text)


def read_text(name: str, suffix: str, text: str) -> Document:
    """Return the document of a decoded text; its suffix says what kind of text it is."""
    if suffix in CODE_SUFFIXES:
        return Document(name, f"{name}\n\n{text}", Kind.CODE)  # so that code is found by its file's name, too
    return Document(name, text, Kind.MARKDOWN if suffix in MARKDOWN_SUFFIXES else Kind.TEXT)


def _encoding(data: bytes) -> str | None:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        # ASCII in UTF-16 is UTF-8, too: every other byte is zero
        return _utf_16(data) or "utf-8"
    if utf_16 := _utf_16(data):
        return utf_16
    sample = data[:SAMPLE_BYTES]
    # the sample may end within a character of up to four bytes
    return next(filter(None, (_guess(sample[: len(sample) - cut]) for cut in range(4))), None)


def _guess(sample: bytes) -> str | None:
    matches = charset_normalizer.from_bytes(sample, cp_isolation=list(ENCODINGS))
    best = min(
        matches, key=lambda match: (match.chaos, -match.coherence, _rank(match.encoding)), default=None
    )
    return best.encoding if best else None


def _rank(encoding: str) -> int:
    return ENCODINGS.index(encoding) if encoding in ENCODINGS else len(ENCODINGS)


def _utf_16(data: bytes) -> str | None:
    """Recognise UTF-16 without a mark by the zero bytes of its spaces, digits and Latin letters."""
    sample = data[: SAMPLE_BYTES // 2 * 2]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < len(sample) / 20 or min(even, odd) > max(even, odd) / 10:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"
