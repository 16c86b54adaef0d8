"""Names of files as strangers send them, made safe to show and to store."""

import unicodedata
from pathlib import PurePosixPath

LONGEST_NAME = 120  # characters
NAMELESS = "document"


def safe_name(name: str) -> str:
    """Reduce a file's name to its last part without control, formatting and other invisible characters."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] not in "CZ" or letter == " ")
    shown = unicodedata.normalize("NFC", " ".join(shown.split()))
    if not shown.strip(". "):
        return NAMELESS
    suffix = PurePosixPath(shown).suffix[:20]
    return shown if len(shown) <= LONGEST_NAME else shown[: LONGEST_NAME - len(suffix)].rstrip() + suffix
