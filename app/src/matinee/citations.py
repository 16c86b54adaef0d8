"""Check what an answer says against the passage it cites, without a model.

A claim is supported by a passage when its numbers, names and quoted words stand there, and when some window
of a few sentences has enough of its other words, or means nearly the same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from matinee.embedding import Embedder, EmbeddingError, Vector, Vectors
from matinee.sentences import Sentence, pieces
from matinee.stores.truth import Passage

WINDOW = 3  # sentences a claim may draw together
# Share of a claim's words in the window, or cosine to it, from which it is supported: either alone, or both.
# Measured on 61 claims of reference answers about six papers and on 34 sentences of the sample. Supported are
# 34 of the 34 sentences by their own passage, 0 by another of the sample; 43 of the 61 claims by one of their
# four best passages, 0 by a random one of the same paper, 8 by the nearest of the other papers, which partly
# say the same; 1 of 16 claims in which a number was changed, for which a name is now looked up with its
# number. The claims that are missed put the paper in general words, or say what it does not.
WORDS_ALONE, COSINE_ALONE = 0.55, 0.70
WORDS, COSINE = 0.25, 0.45
QUOTED_SHARE = 0.5  # of the best sentence's match, for another sentence of the window to be highlighted

_CLAIM_WORD = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[,.\u00a0\u202f ]\d{3}(?!\d))+(?:\.\d+)?|\d+(?:[.,]\d+)?")
_QUOTE = re.compile(r"[\"“„«]([^\"”“»]{3,200})[\"”“»]")
_MARKS = re.compile(r"[*_`#|]+")
_CUT_WORD = re.compile(r"(?<=[a-z])[-\u00ad\ufffe\x02]\s*\n\s*(?=[a-z])")
_STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about above after again all also although an and any are as at be because been before being
    between both but by can could did do does during each either for from further had has have having he
    her here hers him his how i if in into is it its itself just like made make may me might more most
    much must my no nor not of off on once only or other our out over own same she should so some such
    than that the their theirs them then there these they this those through to too under until up us
    use used uses using very was we were what when where whether which while who whom whose why will
    with within without would you your according passage passages document documents states stated
    mentions says
    """,
    )
)
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        re.findall(r"\w+", f"zero one two three four five six seven eight nine {_TEENS}")
    )
}
_ENDINGS = re.findall(
    r"\w+",
    "ization isation ations ation ements ement ingly edly ings ing ies ers ed es er ly al s e y",
)
# what says nothing that a passage could support: a greeting, an offer, or that the passages do not say it
_NO_CLAIM = re.compile(
    r"^(?:hi|hello|hey|sure|certainly|of course|yes|no|thanks|thank you)(?: there)?[!,.]*$"
    r"|^(?:you'?re welcome|great question|good question|let me know|i hope|please|feel free)\b"
    r"|^(?:i|we) (?:can|can['’]?t|cannot|could|couldn['’]?t|am|do not|don['’]?t|did not|didn['’]?t)\b"
    r"|\b(?:passages?|documents?|sources?|excerpts?|context|text)\b.{0,40}"
    r"\b(?:do|does|did)(?: not|n['’]t) (?:\w+ )?"
    r"(?:say|mention|contain|hold|state|provide|specify|describe|answer|include|give|explain|discuss|cover)"
    r"|\b(?:not|nothing|no information|none)\b.{0,60}\bin the (?:passages?|documents?|sources?|context)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Support:
    """How far a passage supports a claim; `quotes` are document offsets of what does."""

    holds: bool
    words: float
    cosine: float
    missing: tuple[str, ...] = ()
    quotes: tuple[tuple[int, int], ...] = ()


def is_claim(text: str) -> bool:
    """Tell whether a sentence says something which needs a source."""
    text = _MARKS.sub("", text).strip()
    if not text or text.endswith(("?", ":")) or _NO_CLAIM.search(text):
        return False
    return len(content_words(text)) >= 2 or bool(numbers(text))


def numbers(text: str) -> set[str]:
    """Return the numbers of a text as one writes them plainly: 1,874 and 1 874 are 1874, 6.0 is 6."""
    found = set()
    for match in _NUMBER.finditer(text):
        number = re.sub(r"[,\u00a0\u202f ](?=\d{3}(?!\d))", "", match.group()).replace(",", ".")
        if "." in number:
            number = number.rstrip("0").rstrip(".")
        found.add(number.lstrip("0") or "0")
    return found


def content_words(text: str) -> set[str]:
    """Return the stems of the words which carry the meaning."""
    words = (word.lower() for word in _CLAIM_WORD.findall(_CUT_WORD.sub("", text)))
    return {
        stem(part)
        for word in words
        for part in re.split(r"[-'’.]", word)
        if len(part) > 1 and part not in _STOPWORDS and not part.isdigit()
    }


def stem(word: str) -> str:
    """Cut the endings which English puts to a word, roughly: enough to see that two words are one."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def names(text: str) -> set[str]:
    """Return the names of a text: words with a capital which does not begin the sentence, and acronyms."""
    found = set()
    for match in _CLAIM_WORD.finditer(text):
        word = match.group()
        first = not _CLAIM_WORD.search(text[: match.start()])
        if word[1:] != word[1:].lower() or (word[0].isupper() and not first and len(word) > 1):
            found.add(word)
    return found


class Checker:
    """Checks claims against passages. Remembers the passages of one answer.

    Args:
        embedder: compares meanings.
        given: a text whose names a claim may use although a passage calls them otherwise: the question.
    """

    def __init__(self, embedder: Embedder, given: str = "") -> None:
        self._embedder = embedder
        self._given = _plain(given)
        self._passages: dict[int, _Passage] = {}

    def support(self, claim: str, passage: Passage) -> Support:
        """Return how far the passage supports the claim."""
        if passage.id not in self._passages:
            self._passages[passage.id] = _Passage(passage, self._embedder)
        known = self._passages[passage.id]
        claim = _MARKS.sub("", claim)
        missing = tuple(self._missing(claim, known))
        words = content_words(claim) - known.unnamed(claim)
        shares = np.array([len(words & window) / max(len(words), 1) for window in known.window_words])
        if not shares.size:
            return Support(False, 0.0, 0.0, missing)
        best, cosine = int(shares.argmax()), 0.0
        if shares[best] < WORDS_ALONE and not missing:
            cosines = known.cosines(claim)
            best = int((shares + cosines).argmax())
            cosine = float(cosines[best])
        share = float(shares[best])
        close = (share >= WORDS and cosine >= COSINE) or share >= WORDS_ALONE or cosine >= COSINE_ALONE
        return Support(
            close and not missing, share, cosine, missing, known.quotes(best, words, numbers(claim))
        )

    def _missing(self, claim: str, passage: "_Passage") -> list[str]:
        """Return the numbers, names and quoted words of the claim which the passage does not have."""
        spoken = numbers(claim)
        missing = sorted(spoken - passage.numbers)
        missing += [
            name
            for name in sorted(names(claim))
            if not (_known(name, passage.plain) or _known(name, self._given)) and not name[0].isdigit()
        ]
        missing += [
            quote for quote in _QUOTE.findall(claim) if " ".join(_plain(quote).split()) not in passage.plain
        ]
        missing += [
            " ".join(counted) for counted in _counted(claim) if _contradicts(counted, passage.counted)
        ]
        return missing


class _Passage:
    """A passage prepared for the check."""

    def __init__(self, passage: Passage, embedder: Embedder) -> None:
        self._passage = passage
        self._embedder = embedder
        self._sentences = list(pieces(passage.text))
        self.plain = _plain(f"{passage.document_name}\n{passage.text}")
        self.counted = _counted(passage.text)
        self.numbers = numbers(passage.text) | {
            _NUMBER_WORDS[word] for word in re.findall(r"[a-z]+", self.plain) if word in _NUMBER_WORDS
        }

    def unnamed(self, claim: str) -> set[str]:
        """Return the words of the claim's names which only the question or the title uses."""
        return content_words(" ".join(names(claim))) - content_words(self._passage.text)

    @cached_property
    def _windows(self) -> list[list[Sentence]]:
        last = max(1, len(self._sentences) - WINDOW + 1) if self._sentences else 0
        return [self._sentences[at : at + WINDOW] for at in range(last)]

    @cached_property
    def window_words(self) -> list[set[str]]:
        return [content_words(_joined(window)) for window in self._windows]

    @cached_property
    def _vectors(self) -> Vectors:
        return self._embedder.embed([_joined(window) for window in self._windows])

    def cosines(self, claim: str) -> Vector:
        """Return how near each window is to the claim; an embedder that fails leaves it to the words."""
        try:
            return self._vectors @ self._embedder.embed([claim])[0]
        except EmbeddingError:
            return np.zeros(len(self._windows), np.float32)

    def quotes(self, window: int, words: set[str], figures: set[str]) -> tuple[tuple[int, int], ...]:
        """Return where the sentences of the window stand which have the claim's words."""
        sentences = self._windows[window]
        matches = [
            len(words & content_words(sentence.text)) + 2 * len(figures & numbers(sentence.text))
            for sentence in sentences
        ]
        floor = max(matches) * QUOTED_SHARE
        start = self._passage.start
        return tuple(
            (start + sentence.start, start + sentence.end)
            for sentence, match in zip(sentences, matches, strict=True)
            if match and match >= floor
        )


def merge(quotes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the spans in order, each once."""
    return tuple(sorted(dict.fromkeys(quotes)))


def _joined(window: Sequence[Sentence]) -> str:
    return " ".join(sentence.text for sentence in window)


def _plain(text: str) -> str:
    """Lower-case, with single spaces, and with the words whole which the page cut."""
    return " ".join(_MARKS.sub("", _CUT_WORD.sub("", text)).lower().replace("’", "'").split())


def _known(name: str, plain: str) -> bool:
    """Tell whether a name is in a text, with or without its hyphens, or all of its words are."""
    name = name.lower().replace("’", "'").removesuffix("'s")
    if name in plain or _joined_up(name) in _joined_up(plain) or name.rstrip("s") in plain:
        return True
    parts = [part for part in re.split(r"[-./]", name) if part]
    return len(parts) > 1 and all(part.isalpha() and part in plain for part in parts)


def _joined_up(text: str) -> str:
    return text.replace("-", "").replace(" ", "")


def _counted(text: str) -> set[tuple[str, str]]:
    """Return what is counted: "nine months" and "9 months" are ("9", "month")."""
    plain = _NUMBER.sub(lambda match: " ".join(numbers(match.group())), text.lower())
    return {
        (_NUMBER_WORDS.get(number, number), stem(noun))
        for number, noun in re.findall(r"\b([a-z]+|\d+)(?=\s+([a-z]{3,}))", plain)
        if (number in _NUMBER_WORDS and number not in ("zero", "one")) or number.isdigit()
    }


def _contradicts(counted: tuple[str, str], others: set[tuple[str, str]]) -> bool:
    """Tell whether a text counts the same thing, and never to this number."""
    return counted not in others and any(noun == counted[1] for _, noun in others)
