"""The store on this machine: the truth and its index."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from matinee.documents import Document, Span
from matinee.embedding import Embedder, EmbeddingError, Vector, Vectors
from matinee.errors import MatineeError
from matinee.stores.index import IndexState, VectorIndex
from matinee.stores.keyword import WordSearch
from matinee.stores.truth import Origin, Outcome, Scope, Truth

NARROW = 5000  # passages of a scope up to which all of them are compared; of a wider one, the index is asked
REEMBED_BATCH = 64
LOOK_SECONDS = 5.0  # between two looks for passages without a vector, which another process may have added

logger = logging.getLogger(__name__)


class LocalStore:
    """Documents in a folder. Safe to use from several threads, and from several processes at once.

    Passages without a vector of this embedder get one in the background: those of another embedding model,
    of a prebuilt index, or of a process that uses another one. What is done stays done after a stop.

    Args:
        folder: the data folder; made if it is not there.
        embedder: makes the vectors.

    Raises:
        MatineeError: if the folder cannot be written to, is damaged or from another version.
    """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("a")
        except OSError as error:
            raise MatineeError(
                f"The data folder {folder} cannot be written to ({error.strerror}). "
                "Give it to the user this runs as, or set MATINEE_DATA to another folder."
            ) from None
        path = folder / "matinee.db"
        self._embedder = embedder
        self.truth = Truth(path, embedder.name, embedder.dimensions)
        self.words = WordSearch(self.truth)
        self._index = VectorIndex(folder / "index", lock, self.truth, path)
        self._loading = threading.Lock()
        self._vectors: tuple[int, list[int], Vectors] | None = None  # of that version of the truth
        self._closing, self._wake = threading.Event(), threading.Event()
        self._reembedder = threading.Thread(target=self._reembed, name="reembedder")
        self._reembedder.start()

    @property
    def index_state(self) -> IndexState:
        """What the vector index is doing."""
        return self._index.state

    def add(
        self,
        collection_id: int,
        document: Document,
        sha256: str,
        data: bytes,
        spans: Sequence[Span],
        vectors: Vectors | None,
        tags: Sequence[str] = (),
        origin: Origin | None = None,
    ) -> Outcome:
        """Store a document as Truth.add() does; when this returns it is on disk and can be found."""
        outcome = self.truth.add(collection_id, document, sha256, data, spans, vectors, tags, origin)
        if vectors is None:
            self._wake.set()
        self._index.update()
        return outcome

    def remove(self, document_id: int) -> None:
        """Remove a document, if it is here."""
        self.truth.remove(document_id)
        self._index.update()

    def update(self) -> None:
        """Take up in the index, in the background, what has changed in the truth."""
        self._index.update()

    def nearest(self, vector: Vector, limit: int, scope: Scope) -> dict[int, float]:
        """Return the passages of the scope nearest in meaning, by id, with their cosine; best first."""
        visible, (_, total) = self.truth.count_passages(scope), self.truth.count()
        if visible < total and visible <= NARROW:
            return _nearest(vector, limit, *self.truth.scope_vectors(scope))
        # the index knows nothing of scopes: take so many that enough of them are within
        wanted = limit if visible == total else min(total, 2 * limit * total // visible)
        found = self._index.nearest(vector, wanted)
        if found is None:
            ids, vectors = self._all_vectors()
            found = _nearest(vector, wanted, ids, vectors)
        else:
            self._vectors = None
        if visible == total:
            return found
        within = self.truth.within(list(found), scope)
        kept = {key: cosine for key, cosine in found.items() if key in within}
        if len(kept) < min(limit, visible):
            return _nearest(vector, limit, *self.truth.scope_vectors(scope))
        return dict(list(kept.items())[:limit])

    def close(self) -> None:
        """Close the files."""
        self._closing.set()
        self._wake.set()
        self._reembedder.join()
        self._index.close()
        self.truth.close()

    def _all_vectors(self) -> tuple[list[int], Vectors]:
        """Return every stored vector: 8 ms to compare at 100,000, so good enough while the index is away."""
        with self._loading:
            version, stored = self.truth.version(), self._vectors
            if stored is None or stored[0] != version:
                stored = self._vectors = (version, *self.truth.vectors())
        return stored[1], stored[2]

    def _reembed(self) -> None:
        seen = None  # version of the truth without a passage that lacks a vector
        tidied = False
        while not self._closing.is_set():
            self._wake.clear()
            try:
                version = self.truth.version()
                if version != seen:
                    self._embed_missing()
                    seen = version
                # once, by who takes the index: before, another process may still use another model
                if not tidied and not self._closing.is_set() and self._index.state is not IndexState.WAITING:
                    self.truth.forget_other_embedders()
                    tidied = True
            except EmbeddingError as error:
                logger.error("Passages wait for their vectors: %s", error)
            except Exception:  # questions are answered all the same; the next look tries again
                logger.exception("Passages wait for their vectors.")
            self._wake.wait(LOOK_SECONDS)

    def _embed_missing(self) -> None:
        missing = self.truth.without_vector(REEMBED_BATCH)
        if missing:
            logger.info("Embedding passages which have no vector of %s.", self._embedder.name)
        while missing and not self._closing.is_set():
            ids, texts = zip(*missing, strict=True)
            self.truth.add_vectors(ids, self._embedder.embed(texts))
            self._index.update()
            missing = self.truth.without_vector(REEMBED_BATCH)


def _nearest(vector: Vector, limit: int, ids: Sequence[int], vectors: Vectors) -> dict[int, float]:
    """Compare with every vector; best first."""
    cosines = vectors @ vector
    best = np.argsort(-cosines)[:limit]
    return {ids[row]: float(cosines[row]) for row in best}
