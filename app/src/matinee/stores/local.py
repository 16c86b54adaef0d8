"""The store on this machine: the truth and its index, owned by one process."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from matinee.documents import Document, Span
from matinee.embedding import Embedder, Vector, Vectors
from matinee.stores.index import IndexState, VectorIndex
from matinee.stores.lock import FolderLock
from matinee.stores.truth import Truth

logger = logging.getLogger(__name__)


class LocalStore:
    """Documents in a folder. Safe to use from several threads.

    Args:
        folder: the data folder; made if it is not there.
        embedder: makes the vectors.

    Raises:
        FolderInUseError: if another process owns the folder.
        TruthError: if the folder is damaged or from another version.
    """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._lock = FolderLock(folder)
        try:
            path = folder / "matinee.db"
            self.truth = Truth(path, embedder.name, embedder.dimensions)
            self._index = VectorIndex(folder / "index", self.truth, path)
        except BaseException:
            self._lock.release()
            raise
        self._stored: tuple[list[int], Vectors] | None = None

    @property
    def index_state(self) -> IndexState:
        """What the vector index is doing."""
        return self._index.state

    def add(
        self, document_id: str, document: Document, size: int, spans: Sequence[Span], vectors: Vectors
    ) -> None:
        """Store a document; when this returns it is on disk and can be found."""
        with self._index.changing:
            ids = self.truth.add(document_id, document, size, spans, vectors)
            self._stored = None
            self._index.add(ids, vectors)

    def remove(self, document_id: str) -> None:
        """Remove a document, if it is here."""
        with self._index.changing:
            ids = self.truth.remove(document_id)
            self._stored = None
            self._index.remove(ids)

    def nearest(self, vector: Vector, limit: int) -> dict[int, float]:
        """Return the passages nearest in meaning, by id, with their cosine; best first."""
        found = self._index.nearest(vector, limit)
        return self._exact(vector, limit) if found is None else found

    def matching(self, question: str, limit: int) -> dict[int, float]:
        """Return the passages sharing words with the question, by id, with their BM25 score; best first."""
        return self.truth.matching(question, limit)

    def wait_for_index(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, for the vector index; says whether it is ready."""
        return self._index.wait(timeout)

    def close(self) -> None:
        """Close the files and give the folder up."""
        self._index.close()
        self.truth.close()
        self._lock.release()

    def _exact(self, vector: Vector, limit: int) -> dict[int, float]:
        """Compare with every stored vector: 8 ms at 100,000, so good enough while the index is away."""
        with self._index.changing:
            if self._stored is None:
                self._stored = self.truth.vectors()
            ids, vectors = self._stored
        cosines = vectors @ vector
        best = np.argsort(-cosines)[:limit]
        return {ids[row]: float(cosines[row]) for row in best}
