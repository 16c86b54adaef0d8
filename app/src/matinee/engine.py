"""What the app can do: add, remove and list documents, and answer questions about them."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from matinee.answer import Answer, Answerer, Citation, Delta
from matinee.documents import DocumentError, load, split
from matinee.embedding import Embedder
from matinee.llm import LanguageModel
from matinee.retrieval import Retriever
from matinee.settings import MEGABYTE, Settings, load_settings
from matinee.stores.local import LocalStore
from matinee.stores.truth import StoredDocument

SAMPLE = "guide.pdf"
SAMPLE_NAME = "A guide to Matinee.pdf"
CONTEXT = 350  # characters shown before and after a cited passage

type Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, from 0 to 1."""


@dataclass(frozen=True)
class Added:
    """What became of a file: the name it is kept under, and whether it was there already."""

    name: str
    already_there: bool


@dataclass(frozen=True)
class Extract:
    """A piece of a document's text; `offset` is where it starts in the document."""

    text: str
    offset: int


class Engine:
    """The app without its page. Safe to use from several threads.

    Args:
        settings: where the data and the model are, and which language model to ask.

    Raises:
        MatineeError: if the data folder or the embedding model cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._embedder = Embedder(settings.model, settings.threads)
        self._store = LocalStore(settings.data, self._embedder)
        self._retriever = Retriever(self._store, self._embedder)
        model = LanguageModel(settings) if settings.openai_api_key else None
        self._answerer = Answerer(self._store.truth, self._embedder, model)
        self._ingesting = threading.Lock()  # one document at a time: PDFium is not safe with threads

    @property
    def model_name(self) -> str | None:
        """Name of the language model, or None when answers are extracts."""
        return self._answerer.model.name if self._answerer.model else None

    def add(self, name: str, data: bytes, progress: Progress = lambda _stage, _share: None) -> Added:
        """Add a file; when this returns it is on disk and can be asked about.

        Raises:
            DocumentError: if the file cannot become a document.
        """
        if len(data) > self.settings.max_upload_mb * MEGABYTE:
            raise DocumentError(
                f"{name} is larger than {self.settings.max_upload_mb} MB. "
                "Split it, or raise MATINEE_MAX_UPLOAD_MB."
            )
        document_id = hashlib.sha256(data).hexdigest()
        progress("Waiting its turn", 0.0)
        with self._ingesting:
            there = self._store.truth.document_name(document_id)
            if there is not None:
                return Added(there, already_there=True)
            progress("Reading", 0.0)
            document = load(name, data)
            progress("Splitting", 0.0)
            spans = split(document, self._embedder.token_counter)
            texts = [document.text[span.start : span.end] for span in spans]
            vectors = np.empty((len(texts), self._embedder.dimensions), np.float32)
            done = 0
            progress(f"Embedding {len(texts)} passages", 0.0)
            for indices, batch in self._embedder.batches(texts):
                vectors[indices] = batch
                done += len(indices)
                progress(f"Embedding {len(texts)} passages", done / len(texts))
            progress("Saving", 1.0)
            self._store.add(document_id, document, len(data), spans, vectors)
        return Added(name, already_there=False)

    def add_sample(self, progress: Progress = lambda _stage, _share: None) -> Added:
        """Add the document which comes with the app."""
        data = resources.files("matinee.samples").joinpath(SAMPLE).read_bytes()
        return self.add(SAMPLE_NAME, data, progress)

    def remove(self, document_id: str) -> None:
        """Remove a document and everything made from it."""
        self._store.remove(document_id)

    def documents(self) -> list[StoredDocument]:
        """Return the documents, newest first."""
        return self._store.truth.documents()

    def ask(self, question: str) -> Iterator[Delta | Answer]:
        """Yield parts of the answer as they come, and last the whole answer."""
        yield from self._answerer.answer(question, self._retriever.search(question))

    def around(self, citation: Citation) -> Extract:
        """Return a cited passage within the text around it; empty if its document has been removed."""
        passage = citation.passage
        start = max(0, passage.start - CONTEXT)
        text = self._store.truth.text(passage.document_id, start, passage.end + CONTEXT)
        cut = text.find(" ", 0, passage.start - start) + 1 if start else 0  # begin with a whole word
        return Extract(text[cut:], start + cut)

    def health(self) -> dict[str, str | int]:
        """Return the state of the parts; reading it proves that the documents can be read."""
        return {"status": "ok", "documents": len(self.documents()), "index": self._store.index_state.value}

    def wait_for_index(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, for the vector index; says whether it is ready."""
        return self._store.wait_for_index(timeout)

    def close(self) -> None:
        """Close the files and give the data folder up."""
        self._store.close()


@cache
def shared_engine() -> Engine:
    """Return the process's engine, opened at the first call: the data folder has one owner."""
    return Engine(load_settings())
