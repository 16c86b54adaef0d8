"""The vector index: Chroma over the truth's vectors. It may be lost at any time and costs only time.

A crash can leave Chroma's files so that opening them ends the whole process. So a child process opens
them first and compares every vector with the truth; unless it finds them the same, the index is thrown
away and built again from the stored vectors. Run as a module, this file is that child.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matinee.embedding import Embedder, Vector, Vectors
from matinee.stores.truth import Truth

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

FORMAT = "chroma-1"  # name of the folder; a format that cannot read the last one takes a new name
COLLECTION = "passages"
BATCH = 1000  # rows; Chroma takes at most 5,461 at once
CHECK_SECONDS = 120

logger = logging.getLogger(__name__)


class IndexState(StrEnum):
    """What the index is doing; it answers only when ready."""

    CHECKING = "checking"
    REBUILDING = "rebuilding"
    READY = "ready"


class VectorIndex:
    """Nearest-neighbour search over the passages' vectors.

    Args:
        root: folder for the index's own files.
        truth: what it is built from.
        truth_path: the truth's file, for the child process.
    """

    def __init__(self, root: Path, truth: Truth, truth_path: Path) -> None:
        self._root = root
        self._truth = truth
        self._truth_path = truth_path
        self._changing = threading.RLock()  # held for every change, of the truth and of the index
        self._closing = threading.Event()
        self._client: Client | None = None
        self._collection: Collection | None = None
        self.state = IndexState.CHECKING
        self._worker = threading.Thread(target=self._open, name="vector-index")
        self._worker.start()

    @property
    def changing(self) -> threading.RLock:
        """Hold this while changing the truth, so that the index cannot miss the change."""
        return self._changing

    def nearest(self, vector: Vector, limit: int) -> dict[int, float] | None:
        """Return passage ids and their cosine, best first; None while the index cannot answer."""
        collection = self._collection
        if self.state is not IndexState.READY or collection is None:
            return None
        try:
            found = collection.query(query_embeddings=vector[None], n_results=limit, include=["distances"])
        except Exception:  # whatever Chroma raises, the stored vectors can answer
            self._distrust("a search failed")
            return None
        distances = (found["distances"] or [[]])[0]
        return {int(key): 1.0 - distance for key, distance in zip(found["ids"][0], distances, strict=True)}

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Take up new passages."""
        if self.state is not IndexState.READY or self._collection is None:
            return  # the worker takes them from the truth
        try:
            self._fill(self._collection, ids, vectors)
        except Exception:  # see nearest()
            self._distrust("adding failed")

    def remove(self, ids: Sequence[int]) -> None:
        """Forget passages."""
        if self.state is not IndexState.READY or self._collection is None or not ids:
            return
        try:
            self._forget(self._collection, ids)
        except Exception:  # see nearest()
            self._distrust("removing failed")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until the index is ready; says whether it is."""
        self._worker.join(timeout)
        return self.state is IndexState.READY

    def close(self) -> None:
        """Stop and close Chroma's files."""
        self._closing.set()
        self._worker.join()
        self._close_client()

    def _open(self) -> None:
        """Check what is there, rebuild unless it is right, take up what changed meanwhile."""
        try:
            folder = self._checked_folder()
            if folder is None and not self._closing.is_set():
                self.state = IndexState.REBUILDING
                folder = self._rebuild()
            if folder is None or self._closing.is_set():
                return
            collection = self._collection or self._connect(folder)
            with self._changing:
                indexed, stored = self._indexed_ids(collection), self._truth.passage_ids()
                self._forget(collection, sorted(indexed - stored))
                self._fill(collection, *self._truth.vectors(sorted(stored - indexed)))
                self._collection, self.state = collection, IndexState.READY
            logger.info("The vector index is ready with %d passages.", len(stored))
        except Exception:
            # the app goes on with exact search; the next start tries again
            logger.exception("The vector index could not be built; searching the stored vectors instead.")

    def _checked_folder(self) -> Path | None:
        """Return the folder of an index that holds exactly the truth's vectors, if there is one."""
        folders = [path for path in self._root.glob(f"{FORMAT}-*") if path.is_dir()]
        if len(folders) != 1:  # none yet, or a rebuild was interrupted
            return None
        command = [sys.executable, "-m", __spec__.name, str(folders[0]), str(self._truth_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
            waited = 0.0
            while child.poll() is None and waited < CHECK_SECONDS and not self._closing.wait(0.05):
                waited += 0.05
            if child.poll() is None:
                child.kill()
        return folders[0] if child.returncode == 0 else None

    def _rebuild(self) -> Path | None:
        """Build the index anew in a folder of its own; returns None when told to close."""
        logger.info("Building the vector index from the stored vectors.")
        self._close_client()
        numbers = [int(path.name.rpartition("-")[2]) for path in self._root.glob(f"{FORMAT}-*")]
        for path in self._root.glob("*"):
            shutil.rmtree(path)
        folder = self._root / f"{FORMAT}-{max(numbers, default=0) + 1}"
        folder.mkdir(parents=True)
        collection = self._connect(folder)
        ids, vectors = self._truth.vectors()
        for start in range(0, len(ids), BATCH):
            if self._closing.is_set():
                return None
            self._fill(collection, ids[start : start + BATCH], vectors[start : start + BATCH])
        self._collection = collection
        return folder

    def _distrust(self, reason: str) -> None:
        """Stop answering and rebuild in the background."""
        with self._changing:
            if self.state is not IndexState.READY or self._closing.is_set():
                return
            logger.exception("The vector index is rebuilt: %s.", reason)
            self.state = IndexState.REBUILDING
            self._close_client()
            shutil.rmtree(self._root, ignore_errors=True)
            self._worker = threading.Thread(target=self._open, name="vector-index")
            self._worker.start()

    def _connect(self, folder: Path) -> "Collection":
        self._client = _open_chroma(folder)
        return self._client.get_or_create_collection(
            COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def _close_client(self) -> None:
        self._collection = None
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(Exception):  # a broken one may not close; its files go anyway
                client.close()

    @staticmethod
    def _indexed_ids(collection: "Collection") -> set[int]:
        return {int(key) for key in collection.get(include=[])["ids"]}

    @staticmethod
    def _fill(collection: "Collection", ids: Sequence[int], vectors: Vectors) -> None:
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            collection.add(ids=[str(key) for key in ids[part]], embeddings=vectors[part])

    @staticmethod
    def _forget(collection: "Collection", ids: Sequence[int]) -> None:
        for start in range(0, len(ids), BATCH):
            collection.delete(ids=[str(key) for key in ids[start : start + BATCH]])


def _open_chroma(folder: Path) -> "Client":
    from chromadb.api.client import Client  # 1 s to import: in the background, not before the first answer
    from chromadb.config import Settings

    settings = Settings(is_persistent=True, persist_directory=str(folder), anonymized_telemetry=False)
    return Client(settings=settings)


def _same_as_truth(folder: Path, truth: Truth) -> bool:
    """Read every vector back from the index and compare it with the stored one."""
    collection = _open_chroma(folder).get_collection(COLLECTION, embedding_function=None)
    ids, vectors = truth.vectors()
    if collection.count() != len(ids):
        return False
    for start in range(0, len(ids), BATCH):
        expected = dict(zip(ids[start : start + BATCH], vectors[start : start + BATCH], strict=True))
        found = collection.get(ids=[str(key) for key in expected], include=["embeddings"])
        embeddings = found["embeddings"]
        if embeddings is None or len(found["ids"]) != len(expected):
            return False
        wanted = np.array([expected[int(key)] for key in found["ids"]])
        if not np.allclose(np.asarray(embeddings), wanted, atol=1e-5):
            return False
    if not ids:
        return True
    nearest = collection.query(query_embeddings=vectors[:1], n_results=1, include=["distances"])
    return bool(nearest["ids"][0]) and nearest["distances"] is not None and nearest["distances"][0][0] < 1e-3


def _check() -> None:
    """Compare the index in argv[1] with the truth in argv[2]; 0 means they are the same."""

    def end_with_parent() -> None:
        sys.stdin.buffer.read()  # ends when the parent does, which is the owner of the folder
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    folder, truth_path = Path(sys.argv[1]), Path(sys.argv[2])
    same = _same_as_truth(folder, Truth(truth_path, Embedder.name, Embedder.dimensions))
    os._exit(0 if same else 1)  # at once: the thread waits for the parent


if __name__ == "__main__":
    _check()
