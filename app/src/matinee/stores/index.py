"""The vector index: Chroma over the truth's vectors. It may be lost at any time and costs only time.

Two processes at Chroma's files corrupt them, so only the one that holds the lock opens them. A crash can
leave them so that opening them ends the whole process. So a child process opens them first and compares
every vector with the truth; unless it finds them the same, the index is thrown away and built again from the
stored vectors. Run as a module, this file is that child.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from matinee.embedding import Vector
from matinee.stores.truth import Truth

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

FORMAT = "chroma-1"  # name of the folder; a format that cannot read the last one takes a new name
COLLECTION = "passages"
BATCH = 1000  # rows; Chroma takes at most 5,461 at once
EF_SEARCH = 200  # candidates of a search: more find more of the nearest, and take longer
CHECK_SECONDS = 120
POLL_SECONDS = 1.0  # between two looks at what other processes do: free the lock, change the truth

logger = logging.getLogger(__name__)


class IndexState(StrEnum):
    """What the index is doing; it answers only when ready."""

    WAITING = "waiting"  # another process has it
    CHECKING = "checking"
    REBUILDING = "rebuilding"
    UPDATING = "updating"
    READY = "ready"


class VectorIndex:
    """Nearest-neighbour search over the passages' vectors, kept up to date by a thread of its own.

    Args:
        root: folder for the index's own files.
        lock: an open file; the process which holds the lock on it has the index.
        truth: what it is built from.
        truth_path: the truth's file, for the child process.
    """

    def __init__(self, root: Path, lock: TextIO, truth: Truth, truth_path: Path) -> None:
        self._root = root
        self._lock = lock
        self._truth = truth
        self._truth_path = truth_path
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._client: Client | None = None
        self._collection: Collection | None = None
        self._indexed: set[int] = set()
        self._version: int | None = None  # of the truth, whose passages are exactly those indexed
        self._state = IndexState.WAITING
        self._worker = threading.Thread(target=self._work, name="vector-index")
        self._worker.start()

    @property
    def state(self) -> IndexState:
        """What the index is doing; ready only while it holds exactly what the truth holds."""
        return IndexState.READY if self._version == self._truth.version() else self._state

    def nearest(self, vector: Vector, limit: int) -> dict[int, float] | None:
        """Return passage ids and their cosine, best first; None while the index cannot answer."""
        collection = self._collection
        if self.state is not IndexState.READY or collection is None:
            self.update()
            return None
        try:
            found = collection.query(query_embeddings=vector[None], n_results=limit, include=["distances"])
        except Exception:  # whatever Chroma raises, the stored vectors can answer
            self._distrust("a search failed")
            return None
        distances = (found["distances"] or [[]])[0]
        return {int(key): 1.0 - distance for key, distance in zip(found["ids"][0], distances, strict=True)}

    def update(self) -> None:
        """Take up, in the background, what has changed in the truth."""
        self._wake.set()

    def close(self) -> None:
        """Stop, close Chroma's files and free the lock."""
        self._closing.set()
        self._wake.set()
        self._worker.join()
        self._close_client()
        self._lock.close()

    def _work(self) -> None:
        """Get the lock, open or rebuild the index, then follow the truth."""
        try:
            while not self._closing.is_set():
                if self._state is IndexState.WAITING:
                    self._take_lock()
                elif self._state is IndexState.CHECKING:
                    self._open()
                elif self._state is IndexState.REBUILDING:
                    self._rebuild()
                else:
                    self._follow()
        except Exception:
            # the app goes on with exact search; the next start tries again
            logger.exception("The vector index could not be built; searching the stored vectors instead.")

    def _take_lock(self) -> None:
        """Take the lock if it is free; the system frees it when its process ends, however it ends."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._closing.wait(POLL_SECONDS)
        else:
            self._state = IndexState.CHECKING

    def _open(self) -> None:
        """Open an index that holds exactly the truth's vectors, if there is one."""
        folder = self._checked_folder()
        if folder is None:
            self._state = IndexState.REBUILDING
        else:
            collection = self._connect(folder)
            self._indexed = {int(key) for key in collection.get(include=[])["ids"]}
            self._begin_to_follow(collection)

    def _checked_folder(self) -> Path | None:
        folders = [path for path in self._root.glob(f"{FORMAT}-*") if path.is_dir()]
        if len(folders) != 1:  # none yet, or a rebuild was interrupted
            return None
        truth = [str(self._truth_path), self._truth.embedder, str(self._truth.dimensions)]
        command = [sys.executable, "-m", __spec__.name, str(folders[0]), *truth]
        # the child has the lock too, so that nobody opens the files beside it when this process is killed
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[self._lock.fileno()]) as child:
            waited = 0.0
            while child.poll() is None and waited < CHECK_SECONDS and not self._closing.wait(0.05):
                waited += 0.05
            if child.poll() is None:
                child.kill()
        return folders[0] if child.returncode == 0 else None

    def _rebuild(self) -> None:
        """Build the index anew in a folder of its own."""
        logger.info("Building the vector index from the stored vectors.")
        self._close_client()
        numbers = [int(path.name.rpartition("-")[2]) for path in self._root.glob(f"{FORMAT}-*")]
        for path in self._root.glob("*"):
            shutil.rmtree(path)
        folder = self._root / f"{FORMAT}-{max(numbers, default=0) + 1}"
        folder.mkdir(parents=True)
        self._indexed = set()
        self._begin_to_follow(self._connect(folder))

    def _begin_to_follow(self, collection: "Collection") -> None:
        self._catch_up(collection)
        self._collection, self._state = collection, IndexState.UPDATING
        logger.info("The vector index holds %d passages.", len(self._indexed))

    def _follow(self) -> None:
        """Wait for a change of the truth, by whichever process, and take it up."""
        self._wake.wait(POLL_SECONDS)
        self._wake.clear()
        if self._collection is not None and self._version != self._truth.version():
            try:
                self._catch_up(self._collection)
            except Exception:  # see nearest()
                self._distrust("a change failed")

    def _catch_up(self, collection: "Collection") -> None:
        """Make the index hold exactly what the truth holds."""
        version, stored = self._truth.version(), self._truth.vector_ids()
        removed = sorted(self._indexed - stored)
        for start in range(0, len(removed), BATCH):
            part = removed[start : start + BATCH]
            collection.delete(ids=[str(key) for key in part])
            self._indexed.difference_update(part)
        added, vectors = self._truth.vectors(sorted(stored - self._indexed))
        for start in range(0, len(added), BATCH):
            if self._closing.is_set():
                return
            part = added[start : start + BATCH]
            collection.add(ids=[str(key) for key in part], embeddings=vectors[start : start + BATCH])
            self._indexed.update(part)
        self._version = version

    def _distrust(self, reason: str) -> None:
        """Stop answering and rebuild in the background."""
        if self._state is IndexState.UPDATING:
            logger.exception("The vector index is rebuilt: %s.", reason)
            self._version, self._state = None, IndexState.REBUILDING
            self._wake.set()

    def _connect(self, folder: Path) -> "Collection":
        self._client = _open_chroma(folder)
        return self._client.get_or_create_collection(
            COLLECTION,
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "ef_search": EF_SEARCH}},
        )

    def _close_client(self) -> None:
        self._collection = self._version = None
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(Exception):  # a broken one may not close; its files go anyway
                client.close()


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
    """Compare the index in argv[1] with the truth in the other arguments; 0 means they are the same."""

    def end_with_parent() -> None:
        sys.stdin.buffer.read()  # ends when the parent does, which is the owner of the folder
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    folder, truth_path, embedder, dimensions = sys.argv[1:]
    same = False
    try:
        same = _same_as_truth(Path(folder), Truth(Path(truth_path), embedder, int(dimensions)))
    finally:
        os._exit(0 if same else 1)  # at once: the thread waits for the parent


if __name__ == "__main__":
    _check()
