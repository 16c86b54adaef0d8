"""Find the passages for a question: by meaning and by words, fused into one ranking."""

from collections.abc import Mapping
from dataclasses import dataclass

from matinee.embedding import Embedder
from matinee.stores.local import LocalStore
from matinee.stores.truth import Passage

CANDIDATES = 50  # taken from each ranking


@dataclass(frozen=True)
class Hit:
    """A passage found. `score` orders hits of one question; `similarity` is the cosine to it, or 0."""

    passage: Passage
    score: float
    similarity: float


def fuse(dense: Mapping[int, float], keyword: Mapping[int, float]) -> dict[int, float]:
    """Fuse two rankings with equal weight, each stretched to 0–1 (min-max); best first."""
    fused: dict[int, float] = {}
    for scores in (dense, keyword):
        low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
        for key, score in scores.items():
            stretched = (score - low) / (high - low) if high > low else 1.0
            fused[key] = fused.get(key, 0.0) + stretched / 2
    return dict(sorted(fused.items(), key=lambda item: -item[1]))


class Retriever:
    """Searches a store.

    Args:
        store: holds the passages and their vectors.
        embedder: the one the store's vectors were made with.
    """

    def __init__(self, store: LocalStore, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder

    def search(self, question: str, limit: int = 8) -> list[Hit]:
        """Return up to `limit` passages, best first."""
        dense = self._store.nearest(self._embedder.embed([question])[0], CANDIDATES)
        fused = fuse(dense, self._store.matching(question, CANDIDATES))
        best = list(fused)[:limit]
        passages = self._store.truth.passages(best)
        return [Hit(passages[key], fused[key], dense.get(key, 0.0)) for key in best if key in passages]
