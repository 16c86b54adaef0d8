"""Make a model's Markdown safe to show: emphasis, lists, tables and code work, and nothing else does.

A link or picture that a document made the model write could carry words of other documents to somebody's
server. So a character which shows nothing is put where two characters would begin a link, a tag, an entity or
an address. That needs to look back only: a text that comes in parts is cleaned like one that comes at once.
"""

import re

JOINER = "\u2060"  # WORD JOINER: no width, no line break

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_BREAKS = re.compile(
    r"(?<=\])(?=[(:])"  # inline link and picture; the definition of a reference or footnote
    r"|(?<=<)(?=[A-Za-z/!?])"  # tag, comment, autolink
    r"|(?<=&)(?=[#A-Za-z])"  # entity, which would be read as what it stands for
    rf"|(?<=\\)(?=[{_PUNCTUATION}])"  # escape, which would hide what follows from these rules
    r"|(?<=:/)(?=/)"  # address
    r"|(?<=[Ww][Ww][Ww])(?=\.)"
    r"|(?<=[\w.+-]@)(?=\w)"  # mail address
    r"|(?<=:)(?=[A-Za-z])"  # Streamlit's :material/…:, :red[…] and emoji
)
_CONTEXT = 4  # characters the rules look back


class Cleaner:
    """Cleans a text that comes in parts."""

    def __init__(self) -> None:
        self._before = ""

    def feed(self, part: str) -> str:
        """Return the next part, cleaned."""
        part = _INVISIBLE.sub("", part)
        known = len(self._before)
        text = self._before + part
        cuts = [match.start() for match in _BREAKS.finditer(text) if match.start() >= known]
        self._before = text[-_CONTEXT:]
        clean = [text[start:end] for start, end in zip([known, *cuts], [*cuts, len(text)], strict=True)]
        return JOINER.join(clean).replace("$", "\\$")  # no formulas


def clean(text: str) -> str:
    """Return Markdown which can be shown whatever it holds."""
    return Cleaner().feed(text)
