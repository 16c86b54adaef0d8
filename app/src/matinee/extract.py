"""Answer without a model: find the sentences and table rows which are nearest to the question."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from matinee.citations import content_words, names
from matinee.documents.document import Kind
from matinee.embedding import Embedder, EmbeddingError
from matinee.retrieval import Hit
from matinee.sentences import LONGEST, Sentence, find_sentences, pieces
from matinee.stores.keyword import QUOTED
from matinee.stores.truth import Passage, Truth

PASSAGES = 5  # best hits whose sentences are considered
SENTENCES = 3
# Cosine to the question from which a sentence is taken to be about it. Measured on the sample and six papers:
# 49 of 49 questions about the papers have such a sentence, 3 of 60 claims of medicine have.
SUPPORT = 0.40
SUPPORT_WORDS = 0.1  # of the share of the question's words in the sentence, added to that cosine
SHARE = 0.8  # of the best sentence's score, for a second and third sentence
WORDS_WEIGHT = 0.3  # of the share of the question's words in the sentence, beside the cosine
RANK_WEIGHT = 0.1  # of its passage's place among the hits
EDGE = 300  # characters around a passage, in which a sentence cut by its edge begins or ends
NEXT = 3  # characters at most between a sentence and the one which completes it

_IDENTIFIER = re.compile(r"\b(?=[\w./:-]*\d)(?=[\w./:-]*[^\W\d_])\w+(?:[-./:]\w+)*\b")  # A-1007
_NUMBER = re.compile(r"(?<![\w.,])\d{3,}(?![\w])")  # 1874: what holds it is preferred
_ROW = re.compile(r"^[ \t]*\|(.+)\|[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"[\s|:-]+")


@dataclass(frozen=True)
class Extract:
    """Sentences of one passage, in the order they stand there, at their offsets in the document."""

    passage: Passage
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """The sentences as one reads them; rows of a table each on a line of its own."""
        rows = self.passage.kind is Kind.TABLE
        return ("\n" if rows else " ").join(sentence.text for sentence in self.sentences)


def extract(
    question: str, typed: str, hits: Sequence[Hit], truth: Truth, embedder: Embedder
) -> list[Extract]:
    """Return what answers the question, best first; empty when nothing is near enough.

    Args:
        question: with what the conversation adds to it, which led to the hits.
        typed: as the person wrote it, which says what is asked now.
        hits: passages to quote from.
        truth: gives the text around them.
        embedder: compares sentences with the question.
    """
    candidates = _candidates(hits[:PASSAGES], truth)
    if not candidates or _names_others(question, hits):
        return []
    asked = content_words(typed) or content_words(question)
    shares = np.array(
        [len(asked & content_words(sentence.text)) / max(len(asked), 1) for sentence, _, _ in candidates]
    )
    places = np.array([1 - rank / len(hits) for _, _, rank in candidates])
    try:
        vectors = embedder.embed([question, typed, *(sentence.text for sentence, _, _ in candidates)])
        cosines = (vectors[2:] @ vectors[:2].T).mean(axis=1)
        support = cosines + SUPPORT_WORDS * shares
    except EmbeddingError:  # words alone found the passages, too
        cosines, support = shares, shares
    named = [*QUOTED.findall(typed), *_IDENTIFIER.findall(typed)]
    for terms in (named, _NUMBER.findall(typed)):
        held = _held(terms, candidates)
        if held.any():
            candidates = [candidate for candidate, holds in zip(candidates, held, strict=True) if holds]
            shares, places, cosines = shares[held], places[held], cosines[held]
            support = support[held]
            if terms is named:  # asked for by its very name or words, which is support enough
                support = np.ones(len(candidates))
            break
    scores = cosines + WORDS_WEIGHT * shares + RANK_WEIGHT * places
    floor = SHARE * float(scores.max())
    best = [
        int(index) for index in np.argsort(-scores) if support[index] >= SUPPORT and scores[index] >= floor
    ][:SENTENCES]
    if not best:
        return []
    after = best[0] + 1
    if after < len(candidates) and _completes(candidates[best[0]], candidates[after]):
        best.append(after)
    chosen: dict[Passage, list[Sentence]] = {}
    for index in dict.fromkeys(best):
        sentence, hit, _ = candidates[index]
        chosen.setdefault(hit.passage, []).append(sentence)
    return [
        Extract(passage, tuple(sorted(sentences, key=lambda sentence: sentence.start)))
        for passage, sentences in chosen.items()
    ]


def _held(
    terms: Sequence[str], candidates: Sequence["_Candidate"]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which candidates hold one of the terms as a whole."""
    wanted = [re.compile(rf"(?<!\w){re.escape(term.strip())}(?!\w)", re.IGNORECASE) for term in terms]
    return np.array(
        [any(term.search(sentence.text) for term in wanted) for sentence, _, _ in candidates], bool
    )


type _Candidate = tuple[Sentence, Hit, int]


def _candidates(hits: Sequence[Hit], truth: Truth) -> list[_Candidate]:
    """Return the sentences and rows of the passages, each once."""
    found: dict[str, _Candidate] = {}
    for rank, hit in enumerate(hits):
        passage = hit.passage
        first = max(0, passage.start - EDGE)
        window = truth.text(passage.document_id, first, passage.end + EDGE)
        for sentence in _readable(window, passage.kind):
            start, end = sentence.start + first, sentence.end + first
            inside = min(end, passage.end) - max(start, passage.start)
            if inside > (end - start) / 2:
                found.setdefault(sentence.text, (Sentence(sentence.text, start, end), hit, rank))
    return list(found.values())


def _names_others(question: str, hits: Sequence[Hit]) -> bool:
    """Tell whether the question has names, and the passages know none of them.

    Acronyms do not count: a document may write out what they stand for.
    """
    named = {name for piece in pieces(question) for name in names(piece.text) if not name.isupper()}
    asked = {word for word in content_words(" ".join(named)) if len(word) > 2}  # the "ve" of "I've" is none
    known = (content_words(f"{hit.passage.document_name}\n{hit.passage.text}") for hit in hits)
    return bool(asked) and all(asked.isdisjoint(words) for words in known)


def _completes(best: _Candidate, after: _Candidate) -> bool:
    """Tell whether a sentence follows the best one at once: it often completes it."""
    if best[1].passage.kind is Kind.TABLE:  # rows stand each for itself
        return False
    return after[1].passage is best[1].passage and 0 <= after[0].start - best[0].end <= NEXT


def _readable(text: str, kind: Kind) -> Iterator[Sentence]:
    """Yield what can be quoted; the passages of a table hold rows and nothing else."""
    if kind is Kind.TABLE:
        for line in re.finditer(r"[^\n]+", text):
            yield Sentence(line.group().strip(), line.start(), line.end())
        return
    yield from find_sentences(text)
    yield from _markdown_rows(text)


def _markdown_rows(text: str) -> Iterator[Sentence]:
    """Yield the rows of Markdown's tables, each cell with the name of its column."""
    header: list[str] | None = None
    before: list[str] | None = None
    end = -1
    for row in _ROW.finditer(text):
        cells = [cell.strip() for cell in row.group(1).split("|")]
        if row.start() != end + 1:
            header = before = None
        if _RULE.fullmatch(row.group(1)):
            header = before
        elif header:
            named = [
                f"{name}: {cell}" if name else cell for name, cell in zip(header, cells, strict=False) if cell
            ]
            readable = "; ".join(named)
            if len(readable) <= LONGEST:
                yield Sentence(readable, row.start(), row.end())
        before, end = cells, row.end()
