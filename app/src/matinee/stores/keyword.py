"""Search by words: SQLite's full-text index with stemming, ranked by BM25."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matinee.stores.truth import Scope, Truth

BROUGHT = 5000  # passages that a question's words bring in; more cost time and find nothing better
RARE = 2  # passages which hold a word that stands in one place only: they overlap
HOLDING = 50  # passages at most which hold an identifier or number; of those with a quoted phrase, the best
LOOKED_AT = 1000  # passages with a term, before only those within the scope are asked for, which takes longer

QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]*\w[^\"“”„«»]*)[\"“”„«»]")
_TERMS = (  # what says exactly what is looked for, and in how many passages it may stand to say it
    (re.compile(r"\d[\d.,]*\s?[^\W\d_]{1,5}\b"), HOLDING),  # 350 kPa
    (
        re.compile(r"\b(?=\w*(?:[-./:_@#+]+\w+)*(?:\d|[./:_@#+]\w))\w+(?:[-./:_@#+]+\w+)*"),
        HOLDING,
    ),  # ERR-4711
    (re.compile(r"\w+"), RARE),
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Exact:
    """What a question names exactly, and passages which hold it."""

    term: str
    passages: frozenset[int]


class WordSearch:
    """Finds passages by their words. Safe to use from several threads.

    Args:
        truth: what is searched.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._frequent: tuple[int, dict[str, int]] = (-1, {})  # counts of words in that version of the truth

    def matching(self, question: str, limit: int, scope: Scope) -> dict[int, float]:
        """Return passages of the scope which share words with the question, with their BM25; best first.

        To score each passage that has "the" takes a quarter of a second at 100,000. So the rarest words bring
        passages in, BROUGHT of them, and the others only have a say in their order. Words in more than half
        of all passages, to which BM25 gives no weight, are left out, unless there are no others.
        """
        visible, (_, total) = self._truth.count_passages(scope), self._truth.count()
        if not visible:
            return {}
        counts = self._counts(dict.fromkeys(_words(question)))
        present = sorted((word for word, count in counts.items() if count), key=counts.__getitem__)
        weighty = [word for word in present if counts[word] <= total / 2] or present[:1]
        brought, room = 0, BROUGHT * total / visible
        while brought < len(weighty) and (not brought or counts[weighty[brought]] <= room):
            room -= counts[weighty[brought]]
            brought += 1
        if not brought:
            return {}
        query = _any(weighty[:brought])
        if others := _any(weighty[brought:]):
            # each word stands there twice, for all to have the same weight
            query = f"({query}) AND ({query} OR {others} OR {others})"
        within = scope if visible < total else None
        return {key: score / (2 if others else 1) for key, score in self._scored(query, limit, within)}

    def exact(self, question: str, scope: Scope) -> list[Exact]:
        """Return what the question names exactly and the scope holds.

        These are phrases in quotes, and identifiers, numbers with units and words that are rare.
        """
        found: list[Exact] = []
        within = scope if self._truth.count_passages(scope) < self._truth.count()[1] else None
        for phrase in QUOTED.findall(question):
            ids = [key for key, _ in self._scored(_phrase(phrase), HOLDING, within)]
            literal = [key for key, item in self._truth.passages(ids).items() if _holds(item.text, phrase)]
            if ids:  # where none has it word for word, those with an inflected word hold it
                found.append(Exact(phrase.strip(), frozenset(literal or ids)))
        for pattern, most in _TERMS:
            for term in dict.fromkeys(pattern.findall(question)):
                if any(_holds(item.term, term) for item in found):
                    continue
                if holding := self._holding(term, most, within):
                    found.append(Exact(term, holding))
        return found

    def _holding(self, term: str, most: int, within: Scope | None) -> frozenset[int]:
        """Return the passages of the scope which hold a term; none if more do than may."""
        query = "SELECT rowid FROM passages_text WHERE passages_text MATCH :term {} LIMIT :limit"
        named = {"term": _phrase(term), "limit": LOOKED_AT if within else most + 1}
        holding = {row[0] for row in self._truth.read(query.format(""), named)}
        if within:
            all_seen = len(holding) < LOOKED_AT
            if term.isalpha() and not all_seen:  # a word that common says nothing, however few have it here
                return frozenset()
            holding = self._truth.within(list(holding), within)
            if not all_seen and len(holding) <= most:
                named |= {"limit": most + 1, **within.parameters}
                holding = {row[0] for row in self._truth.read(query.format(_narrowed(within)), named)}
        return frozenset(holding if len(holding) <= most else ())

    def _scored(self, query: str, limit: int, within: Scope | None) -> list[tuple[int, float]]:
        narrowed, parameters = (_narrowed(within), within.parameters) if within else ("", {})
        return self._truth.read(
            "SELECT key, score FROM (SELECT rowid AS key, -bm25(passages_text) AS score FROM passages_text"
            f" WHERE passages_text MATCH :query {narrowed} LIMIT :bound) ORDER BY score DESC LIMIT :limit",
            {"query": query, "bound": 4 * BROUGHT, "limit": limit, **parameters},
        )

    def _counts(self, words: Iterable[str]) -> dict[str, int]:
        """Return how many passages have each word, whatever the scope."""
        version, frequent = self._frequent
        if version != (now := self._truth.version()):
            version, frequent = self._frequent = now, {}
        counts = {}
        for word in words:
            if word not in frequent:
                query = "SELECT count(*) FROM passages_text WHERE passages_text MATCH ?"
                counts[word] = self._truth.read(query, (_phrase(word),))[0][0]
                if counts[word] > BROUGHT:  # takes milliseconds, and the next question has it, too
                    frequent[word] = counts[word]
            else:
                counts[word] = frequent[word]
        return counts


def _narrowed(within: Scope) -> str:
    """Return a condition which keeps what is found within a scope."""
    # the + keeps SQLite from asking the full-text index once for each of these passages
    return (
        "AND +rowid IN (SELECT p.id FROM documents d JOIN passages p ON p.document_id = d.id"
        f" WHERE {within.condition})"
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _phrase(text: str) -> str:
    return f'"{" ".join(_words(text))}"'


def _any(words: Sequence[str]) -> str:
    return " OR ".join(map(_phrase, words))


def _holds(text: str, phrase: str) -> bool:
    return plain(phrase) in plain(text)


def plain(text: str) -> str:
    """Return a text's words alone, to look for one of them, or some in a row, in another such text."""
    return f" {' '.join(_words(text))} "
