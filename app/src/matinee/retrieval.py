"""Find the passages for a question: by meaning and by words, fused into one ranking."""

import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath

from matinee.embedding import Embedder, EmbeddingError, Vector
from matinee.passages import SAME_COSINE, Stretch, around, complete, same
from matinee.rerank import Reranker, RerankError
from matinee.stores.keyword import Exact, plain
from matinee.stores.local import LocalStore
from matinee.stores.truth import Passage, Scope

CANDIDATES = 50  # taken from each ranking
RERANKED = 30  # of the fused ranking
NAMED = 0.1  # what it adds to a score that the question names the document
SHORTEST_NAME = 3  # characters: "a" names nothing
EXCERPT = 200  # characters of a candidate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """A passage found. `score`, from 0 to 1, orders hits of one question; `similarity` is the cosine to it.

    The passage may be wider than the stored one of its id: neighbours are joined, sentences completed.
    """

    passage: Passage
    score: float
    similarity: float


@dataclass(frozen=True)
class Step:
    """A part of a search, and how long it took."""

    name: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Candidate:
    """A passage that was considered, with its scores and what became of it."""

    passage_id: int
    document_name: str
    page: int | None
    excerpt: str
    dense: float | None
    keyword: float | None
    fused: float
    reranked: float | None
    fate: str


@dataclass(frozen=True)
class Trace:
    """How hits were found."""

    question: str
    searched_for: str
    documents: int
    passages: int
    steps: tuple[Step, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Found:
    """Hits, best first, and how they were found."""

    hits: tuple[Hit, ...]
    trace: Trace


def fuse(dense: Mapping[int, float], keyword: Mapping[int, float]) -> dict[int, float]:
    """Fuse with equal weight the cosines, stretched to 0–1, and the BM25 scores, as shares of the best.

    Args:
        dense: of every candidate.
        keyword: of those that share words with the question; the others have 0, as BM25 would give them.

    Returns:
        A score from 0 to 1 for each candidate, best first.
    """
    low, high = min(dense.values(), default=0.0), max(dense.values(), default=0.0)
    most = max(keyword.values(), default=0.0) or 1.0
    fused = {key: ((cosine - low) / (high - low) if high > low else 1.0) / 2 for key, cosine in dense.items()}
    for key, score in keyword.items():
        fused[key] = fused.get(key, 0.0) + score / most / 2
    return dict(sorted(fused.items(), key=lambda item: -item[1]))


def named_documents(question: str, names: Iterable[str]) -> set[str]:
    """Return those of the documents' names which stand in the question, with or without their endings."""
    asked = plain(question)
    stems = {name: PurePath(name).stem for name in names}
    return {name for name, stem in stems.items() if len(stem) >= SHORTEST_NAME and plain(stem) in asked}


def prefer(scores: Mapping[int, float], keys: Container[int]) -> dict[int, float]:
    """Move some before others which are about as good; scores stay from 0 to 1."""
    moved = {key: (score + NAMED * (key in keys)) / (1 + NAMED) for key, score in scores.items()}
    return dict(sorted(moved.items(), key=lambda item: -item[1]))


class Retriever:
    """Searches a store.

    Args:
        store: holds the passages and their vectors.
        embedder: the one the store's vectors were made with.
        reranker: orders the best again; where it fails, they stay as they are.
    """

    def __init__(self, store: LocalStore, embedder: Embedder, reranker: Reranker | None = None) -> None:
        self._store = store
        self._embedder = embedder
        self.reranker = reranker

    def search(self, question: str, scope: Scope, limit: int = 8) -> Found:
        """Return up to `limit` passages of the scope, best first.

        What says the same as a better hit is left out. For what the question names exactly (a phrase in
        quotes, an identifier, a rare word) a passage which holds it is among the hits. What a document says
        that the question names comes before what others say as well.
        """
        clock = _Clock()
        with clock.step("question to vector") as say:
            vector = self._vector(question, say)
        with clock.step("by meaning") as say:
            dense = {} if vector is None else self._store.nearest(vector, CANDIDATES, scope)
            say(f"{len(dense)} nearest passages")
        with clock.step("by words") as say:
            keyword = self._store.words.matching(question, CANDIDATES, scope)
            say(f"{len(keyword)} best passages")
        with clock.step("exact terms") as say:
            exact = self._store.words.exact(question, scope)
            say(", ".join(item.term for item in exact) or "none")
        with clock.step("fusion") as say:
            others = frozenset[int]().union(*(item.passages for item in exact)) - {*dense, *keyword}
            passages = self._store.truth.passages([*dense, *keyword, *others])
            vectors = self._vectors(list(passages))
            cosines = {} if vector is None else {key: float(row @ vector) for key, row in vectors.items()}
            fused = fuse(
                {key: cosine for key, cosine in cosines.items() if key not in others},
                {key: score for key, score in keyword.items() if key in passages},
            )
            fused |= {key: 0.0 for key in sorted(others) if key in passages}
            named = named_documents(question, {item.document_name for item in passages.values()})
            if named:
                fused = prefer(fused, {key for key in fused if passages[key].document_name in named})
            first = f", first those of {', '.join(sorted(named))}" if named else ""
            say(f"{len(fused)} candidates{first}")
        reranked = self._rerank(question, list(fused), passages, clock)
        scores = _ordered(fused, reranked)
        with clock.step("choice") as say:
            chosen = _Choice(passages, vectors, exact, limit, cache(self._store.truth.page_starts))
            for key in scores:
                chosen.consider(key)
            hits = tuple(
                Hit(
                    complete(passages[stretch.members[0]], stretch, self._store.truth),
                    scores[stretch.members[0]],
                    max(cosines.get(key, 0.0) for key in stretch.members),
                )
                for stretch in chosen.stretches
            )
            say(f"{len(hits)} hits")
        fates = chosen.fates()
        candidates = tuple(
            Candidate(
                key,
                passages[key].document_name,
                passages[key].page,
                passages[key].text[:EXCERPT],
                cosines.get(key),
                keyword.get(key),
                fused[key],
                reranked.get(key),
                fates.get(key, "not among the best"),
            )
            for key in scores
        )
        documents, count = self._size(scope)
        return Found(hits, Trace(question, question, documents, count, tuple(clock.steps), candidates))

    def _vector(self, question: str, say: Callable[[str], None]) -> Vector | None:
        """Return the question's vector; None where the embedder fails, so that words alone find passages."""
        try:
            vector: Vector = self._embedder.embed([question])[0]
        except EmbeddingError as error:
            logger.warning("Searching by words alone: %s", error)
            say(f"Searching by words alone: {error}")
            return None
        say(self._embedder.name)
        return vector

    def _rerank(
        self, question: str, ids: Sequence[int], passages: Mapping[int, Passage], clock: "_Clock"
    ) -> dict[int, float]:
        """Return the reranker's scores of the first passages; none if there is no reranker, or it fails."""
        if self.reranker is None or not ids:
            return {}
        ids = ids[:RERANKED]
        with clock.step("reranking") as say:
            try:
                scores = self.reranker.rerank(question, [passages[key].text for key in ids])
            except RerankError as error:
                logger.warning("Passages stay in their fused order: %s", error)
                say(f"The order stays as it was: {error}")
                return {}
            say(f"{len(ids)} passages, by {self.reranker.name}")
        return dict(zip(ids, scores, strict=True))

    def _vectors(self, ids: Sequence[int]) -> dict[int, Vector]:
        found, vectors = self._store.truth.vectors(ids)
        return dict(zip(found, vectors, strict=True))

    def _size(self, scope: Scope) -> tuple[int, int]:
        rows = self._store.truth.read(
            f"SELECT count(*), coalesce(sum(d.passages), 0) FROM documents d WHERE {scope.condition}",  # noqa: S608
            scope.parameters,
        )
        documents, passages = rows[0]
        return documents, passages


class _Clock:
    """Times the steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step, which says what came of it."""
        detail: list[str] = []
        begun = time.perf_counter()
        yield detail.append
        self.steps.append(Step(name, time.perf_counter() - begun, " ".join(detail)))


class _Choice:
    """Takes candidates, best first, until there are enough hits.

    Args:
        passages: the candidates.
        vectors: theirs.
        exact: what the hits must hold.
        limit: of hits.
        page_starts: gives those of a document.
    """

    def __init__(
        self,
        passages: Mapping[int, Passage],
        vectors: Mapping[int, Vector],
        exact: Sequence[Exact],
        limit: int,
        page_starts: Callable[[int], Sequence[int]],
    ) -> None:
        self._passages, self._vectors, self._limit = passages, vectors, limit
        self._page_starts = page_starts
        self._missing = [item.passages & passages.keys() for item in exact[:limit]]
        self._same: dict[int, int] = {}  # near-duplicates, and what they are near-duplicates of
        self.stretches: list[Stretch] = []

    def consider(self, key: int) -> None:
        """Take the next candidate, or not."""
        wanted = any(key in passages for passages in self._missing)
        places = self._limit - len(self.stretches)
        if places <= (0 if wanted else self._reserved()):
            return
        twin = None if wanted else self._twin(key)
        if twin is not None:
            self._same[key] = twin
        else:
            passage = self._passages[key]
            self._join(around(passage, self._page_starts(passage.document_id)))
        self._missing = [passages for passages in self._missing if key not in passages]

    def fates(self) -> dict[int, str]:
        """Return what became of the passages that were taken."""
        fates = {}
        for number, stretch in enumerate(self.stretches, 1):
            for key in stretch.members:
                fates[key] = f"joined to {number}"
            fates[stretch.members[0]] = f"used as {number}"
        numbers = {key: n for n, stretch in enumerate(self.stretches, 1) for key in stretch.members}
        return fates | {key: f"near-duplicate of {numbers[twin]}" for key, twin in self._same.items()}

    def _reserved(self) -> int:
        """Return how many places are kept for passages with what the hits must hold."""
        return len({min(passages) for passages in self._missing if passages})

    def _twin(self, key: int) -> int | None:
        """Return the passage among the hits which says the same."""
        text, vector = self._passages[key].text, self._vectors.get(key)
        for other in (member for stretch in self.stretches for member in stretch.members):
            other_vector = self._vectors.get(other)
            if vector is None or other_vector is None or float(vector @ other_vector) < SAME_COSINE:
                continue
            if same(text, self._passages[other].text):
                return other
        return None

    def _join(self, stretch: Stretch) -> None:
        """Join a stretch to the hits it touches, or make it one."""
        neighbours = [other for other in self.stretches if other.touches(stretch)]
        if not neighbours:
            overlapping = [other for other in self.stretches if other.overlaps(stretch)]
            for other in overlapping:
                stretch.cut(other)
            passage = self._passages[stretch.members[0]]
            left = min(stretch.end, passage.end) - max(stretch.start, passage.start)
            if left > (passage.end - passage.start) / 2:
                self.stretches.append(stretch)
            else:  # the others have most of it
                overlapping[0].members += stretch.members
            return
        first, *others = neighbours
        first.take(stretch)
        for other in others:
            if first.touches(other):
                first.take(other)
                self.stretches.remove(other)


def _ordered(fused: Mapping[int, float], reranked: Mapping[int, float]) -> dict[int, float]:
    """Return the scores that order the hits, best first: the reranker's, then the rest below them."""
    lowest = min(reranked.values(), default=1.0)
    best = sorted(reranked.items(), key=lambda item: -item[1])
    return dict(best) | {key: score * lowest for key, score in fused.items() if key not in reranked}
