"""The app without its page: opens the parts, takes files in, and gives each person a workspace."""

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np

from matinee.answer import Answerer
from matinee.documents import DocumentError, load, safe_name, split
from matinee.embedding import open_embedder
from matinee.llm import Chain
from matinee.rerank import open_reranker
from matinee.retrieval import Retriever
from matinee.settings import MEGABYTE, Settings, load_settings
from matinee.sources import Source
from matinee.stores.local import LocalStore
from matinee.stores.truth import DEFAULT_COLLECTION, Origin, Outcome
from matinee.workspace import Workspace

SAMPLE = "guide.pdf"
SAMPLE_NAME = "A guide to Matinee.pdf"

type Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, from 0 to 1."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Added:
    """What became of a file: the name it is kept under, and what a reader should know of it."""

    name: str
    outcome: Outcome
    notices: tuple[str, ...] = ()


class Engine:
    """The app without its page. Safe to use from several threads.

    Args:
        settings: where the data and the model are, and which language models to ask.

    Raises:
        MatineeError: if the data folder or the embedding model cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._source = Source(settings.documents) if settings.documents else None
        self.chain = Chain.from_settings(settings)
        self.embedder = open_embedder(settings)
        reranker = open_reranker(settings)
        self.store = LocalStore(settings.data, self.embedder)
        self.truth = self.store.truth
        self.retriever = Retriever(self.store, self.embedder, reranker)
        self.answerer = Answerer(self.truth, self.embedder, self.chain)
        self._ingesting = threading.Lock()  # one file at a time: questions need the processor, too
        if self._source:
            self._source.start(self)

    def workspace(self, person: str) -> Workspace:
        """Return what the app can do for a person, who sees what is shared and what is theirs."""
        return Workspace(self, person)

    def add(
        self,
        name: str,
        data: bytes,
        collection_id: int = DEFAULT_COLLECTION,
        tags: Sequence[str] = (),
        origin: Origin | None = None,
        shown: str | None = None,
        progress: Progress = lambda _stage, _share: None,
    ) -> Added:
        """Add a file, in place of an earlier one of its name and origin; when this returns it is on disk.

        Args:
            name: of the file.
            data: its content.
            collection_id: where it goes.
            tags: words to sort it by.
            origin: where it is from, if it was not uploaded.
            shown: name to keep it under, if another than the file's own.
            progress: is told what is being done.

        Raises:
            DocumentError: if the file cannot become a document, or its collection is gone.
            NameTakenError: if a document of its name came from elsewhere.
            EmbeddingError: if its passages cannot be embedded.
        """
        if len(data) > self.settings.max_upload_mb * MEGABYTE:
            raise DocumentError(
                f"{name} has {len(data) / MEGABYTE:.0f} MB; the limit is {self.settings.max_upload_mb} MB. "
                "Split it, or set MATINEE_MAX_UPLOAD_MB."
            )
        sha256 = hashlib.sha256(data).hexdigest()
        progress("Waiting its turn", 0.0)
        with self._ingesting:
            there = self.truth.find(collection_id, shown or safe_name(name), sha256, origin)
            if there is not None:
                return Added(there, Outcome.THERE)
            progress("Reading", 0.0)
            document = load(name, data)
            if shown:
                document = replace(document, name=shown)
            progress("Splitting", 0.0)
            spans = split(document, self.embedder.token_counter)
            texts = [document.text[span.start : span.end] for span in spans]
            vectors = np.empty((len(texts), self.embedder.dimensions), np.float32)
            done, begun = 0, time.monotonic()
            progress(f"Embedding {len(texts):,} passages", 0.0)
            for indices, batch in self.embedder.batches(texts):
                vectors[indices] = batch
                done += len(indices)
                rate = done / max(time.monotonic() - begun, 1e-3)
                progress(f"Embedding {len(texts):,} passages, {rate:,.0f} a second", done / len(texts))
            progress("Saving", 1.0)
            try:
                outcome = self.store.add(collection_id, document, sha256, data, spans, vectors, tags, origin)
            except sqlite3.IntegrityError:
                raise DocumentError(f"{name} was not added: its collection has just been removed.") from None
        return Added(document.name, outcome, document.notices)

    def add_sample(
        self,
        collection_id: int = DEFAULT_COLLECTION,
        progress: Progress = lambda _stage, _share: None,
    ) -> Added:
        """Add the document which comes with the app."""
        data = resources.files("matinee.samples").joinpath(SAMPLE).read_bytes()
        return self.add(SAMPLE_NAME, data, collection_id, progress=progress)

    def health(self) -> dict[str, str | int]:
        """Return the state of the parts; reading it proves that the documents can be read."""
        documents, _ = self.truth.count()
        state: dict[str, str | int] = {
            "status": "ok",
            "documents": documents,
            "index": self.store.index_state.value,
        }
        if self._source:
            state["source"] = self._source.state
        return state

    def wait_for_source(self) -> None:
        """Wait until the documents which the settings name are taken in."""
        if self._source:
            self._source.wait()

    def close(self) -> None:
        """Close the files."""
        if self._source:
            self._source.close()
        self.store.close()


@cache
def shared_engine() -> Engine:
    """Return the process's engine, opened at the first call."""
    return Engine(load_settings())
