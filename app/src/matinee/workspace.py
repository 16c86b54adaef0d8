"""What the app can do for one person. Every id that comes from a page is checked here against the person."""

import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from matinee.answer import Answer, Citation, Delta
from matinee.documents import safe_name
from matinee.errors import MatineeError
from matinee.followup import rewrite
from matinee.llm import Turn
from matinee.settings import MEGABYTE
from matinee.stores.conversations import Conversations
from matinee.stores.truth import (
    DEFAULT_COLLECTION,
    Collection,
    Origin,
    Passage,
    Scope,
    StoredDocument,
)

if TYPE_CHECKING:
    from matinee.engine import Added, Engine, Progress

NAME_LENGTH = 80  # characters of a collection's name or a tag


class WorkspaceError(MatineeError):
    """What was asked for cannot be done; the message says why."""


@dataclass(frozen=True)
class Stage:
    """What is being done for a question, in words."""

    text: str


class Workspace:
    """The use cases, bound to a person.

    Args:
        engine: the parts.
        person: whose it is; from the session, never from a request's body.
    """

    def __init__(self, engine: "Engine", person: str) -> None:
        self.engine = engine
        self.person = person
        self._truth = engine.truth
        self.conversations = Conversations(engine.truth, person)

    # Collections

    def collections(self) -> list[Collection]:
        """Return the collections that are shared or this person's own."""
        return self._truth.collections(self.person)

    def add_collection(self, name: str, private: bool = False) -> Collection:
        """Make a collection.

        Raises:
            WorkspaceError: if the name is empty or taken.
        """
        name = _cleaned(name)
        with _taken(f"There is a collection “{name}” already."):
            key = self._truth.add_collection(name, self.person if private else None)
        return Collection(key, name, private, 0)

    def rename_collection(self, collection_id: int, name: str) -> None:
        """Give a collection another name.

        Raises:
            WorkspaceError: if the name is empty or taken.
        """
        name = _cleaned(name)
        with _taken(f"There is a collection “{name}” already."):
            self._truth.rename_collection(self._collection(collection_id), name)

    def remove_collection(self, collection_id: int) -> None:
        """Remove a collection with its documents.

        Raises:
            WorkspaceError: if it is the one that is always there.
        """
        if collection_id == DEFAULT_COLLECTION:
            raise WorkspaceError("This collection is always there; remove its documents instead.")
        self._truth.remove_collection(self._collection(collection_id))
        self.engine.store.update()

    # Documents

    def documents(self, collection_id: int | None = None) -> list[StoredDocument]:
        """Return the documents, newest first."""
        return self._truth.documents(self.person, collection_id)

    def document(self, document_id: int) -> StoredDocument | None:
        """Return a document, if there is one this person sees."""
        return self._truth.document(document_id, self.person)

    def passages(self, document_id: int) -> list[Passage]:
        """Return a document's passages, in order."""
        return self._truth.document_passages(document_id) if self.document(document_id) else []

    def text(self, document_id: int, start: int, end: int) -> str:
        """Return a document's text[start:end]; empty if there is no such document."""
        return self._truth.text(document_id, start, end) if self.document(document_id) else ""

    def page_starts(self, document_id: int) -> tuple[int, ...]:
        """Return the offsets at which a document's pages start; none if it has no pages."""
        return self._truth.page_starts(document_id) if self.document(document_id) else ()

    def file(self, document_id: int) -> bytes | None:
        """Return a document's original file."""
        return self._truth.file(document_id) if self.document(document_id) else None

    def page_picture(self, document_id: int, page: int, quotes: Sequence[str] = ()) -> bytes | None:
        """Return a page of a PDF as PNG, with the quotes highlighted; None if there is no such PDF.

        Raises:
            DocumentError: if the file has no such page or it cannot be drawn.
        """
        from matinee.documents.picture import draw_page

        data = self.file(document_id)
        return draw_page(data, page, quotes) if data and data.startswith(b"%PDF") else None

    def add(
        self,
        name: str,
        data: bytes,
        collection_id: int = DEFAULT_COLLECTION,
        tags: Sequence[str] = (),
        progress: "Progress" = lambda _stage, _share: None,
    ) -> "Added":
        """Add a file, in place of an earlier one of its name; when this returns it is on disk.

        Raises:
            DocumentError: if the file cannot become a document.
            EmbeddingError: if its passages cannot be embedded.
        """
        return self.engine.add(name, data, self._collection(collection_id), tags, progress=progress)

    def add_url(
        self,
        url: str,
        collection_id: int = DEFAULT_COLLECTION,
        tags: Sequence[str] = (),
        progress: "Progress" = lambda _stage, _share: None,
    ) -> "Added":
        """Add a web page, or a file by its address.

        Raises:
            DocumentError: if it cannot be fetched or cannot become a document.
            EmbeddingError: if its passages cannot be embedded.
        """
        from matinee.documents.web import fetch, normalised  # which imports a whole HTTP client

        collection_id = self._collection(collection_id)
        progress("Fetching", 0.0)
        url = normalised(url)
        name, data = fetch(url, self.engine.settings.max_upload_mb * MEGABYTE)
        parts = url.partition("://")[2].removeprefix("www.").rstrip("/").split("/")
        shown = "/".join(safe_name(part) for part in parts)  # whole, as many pages are called “about”
        return self.engine.add(name, data, collection_id, tags, Origin(url), shown, progress)

    def add_sample(self, progress: "Progress" = lambda _stage, _share: None) -> "Added":
        """Add the document which comes with the app."""
        return self.engine.add_sample(progress=progress)

    def set_tags(self, document_id: int, tags: Sequence[str]) -> None:
        """Give a document these tags and no others.

        Raises:
            WorkspaceError: if a tag is empty or there is no such document.
        """
        self._truth.set_tags(self._own(document_id).id, [_cleaned(tag) for tag in tags])

    def move(self, document_id: int, collection_id: int) -> None:
        """Put a document into another collection.

        Raises:
            WorkspaceError: if a document of its name is there already, or there is no such document.
        """
        document = self._own(document_id)
        with _taken(f"There is a document {document.name} in that collection already."):
            self._truth.move(document.id, self._collection(collection_id))
        self.engine.store.update()

    def remove(self, document_id: int) -> None:
        """Remove a document and everything made from it, if there is one this person sees."""
        if self.document(document_id):
            self.engine.store.remove(document_id)

    # Questions

    def scope(
        self, collections: Sequence[int] | None = None, documents: Sequence[int] | None = None
    ) -> Scope:
        """Return what a search may see: what is asked for, of what this person sees; by default all of it."""
        visible = [collection.id for collection in self.collections()]
        chosen = visible if collections is None else [key for key in visible if key in collections]
        return Scope(tuple(chosen), None if documents is None else tuple(documents))

    def ask(
        self,
        question: str,
        collections: Sequence[int] | None = None,
        documents: Sequence[int] | None = None,
        turns: Sequence[Turn] = (),
        stop: threading.Event | None = None,
    ) -> Generator[Stage | Delta | Answer]:
        """Yield what is being done and parts of the answer as they come, and last the whole answer.

        Args:
            question: as the person wrote it.
            collections: where to look; by default in all that this person sees.
            documents: of these collections, where to look; by default in all.
            turns: the conversation so far, oldest first.
            stop: is set, by any thread, when the answer is not wanted any more; what came is the answer.
        """
        scope = self.scope(collections, documents)
        alone = question
        if turns:
            yield Stage("Reading the question with the conversation before it…")
            alone = rewrite(question, turns, self.engine.chain, stop)
        count = self._truth.count_passages(scope)
        yield Stage(f"Searching {count:,} passage{'' if count == 1 else 's'}…")
        found = self.engine.retriever.search(alone, scope)
        found = replace(found, trace=replace(found.trace, question=question))
        if self.engine.chain and found.hits:
            yield Stage("Waiting for the language model…")
        for part in self.engine.answerer.answer(alone, found, turns, stop):
            if isinstance(part, Answer):
                citations = tuple(self._placed(citation) for citation in part.citations)
                yield replace(part, citations=citations)
            else:
                yield part

    def _placed(self, citation: Citation) -> Citation:
        """Name the pages of what is quoted, where the passage it stands in has more of them."""
        starts = self._truth.page_starts(citation.passage.document_id)
        if not starts or not citation.quotes:
            return citation
        page, last_page = (
            bisect_right(starts, at) for at in (citation.quotes[0][0], citation.quotes[-1][1] - 1)
        )
        return replace(citation, passage=replace(citation.passage, page=page, last_page=last_page))

    def _collection(self, collection_id: int) -> int:
        if all(collection.id != collection_id for collection in self.collections()):
            raise WorkspaceError("There is no such collection any more. Reload the page.")
        return collection_id

    def _own(self, document_id: int) -> StoredDocument:
        document = self.document(document_id)
        if document is None:
            raise WorkspaceError("There is no such document any more. Reload the page.")
        return document


@contextmanager
def _taken(message: str) -> Iterator[None]:
    """Say this when a name is taken."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise WorkspaceError(message) from None


def _cleaned(name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise WorkspaceError("A name is needed.")
    if len(name) > NAME_LENGTH:
        raise WorkspaceError(f"A name has at most {NAME_LENGTH} characters.")
    return name
