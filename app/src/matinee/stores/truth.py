"""The truth: one SQLite file with documents, passages, vectors, a full-text index, and what people said.

Every change is one transaction, on disk when the call returns. Several processes may use the file at once.
"""

import fcntl
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from matinee.documents import Document, Kind, Span
from matinee.embedding import Vectors
from matinee.errors import MatineeError
from matinee.stores.schema import DEFAULT_COLLECTION as DEFAULT_COLLECTION
from matinee.stores.schema import SCHEMA, SCHEMA_VERSION

BUSY_SECONDS = 60  # a change waits at most this long for one of another process; large documents take seconds
VISIBLE = "(c.owner IS NULL OR c.owner = :person)"
DOCUMENT = (
    "SELECT d.id, d.name, d.bytes, d.added, d.kind, json_array_length(d.page_starts), d.passages,"
    " d.collection_id, c.name, d.tags, d.notices, d.page_names, d.sha256, d.origin"
    " FROM documents d JOIN collections c ON c.id = d.collection_id"
)

# Named parameters :collection, :name, :sha256, :origin and :mark
THERE = (
    "SELECT name FROM documents WHERE collection_id = :collection AND sha256 = :sha256 AND NOT EXISTS"
    " (SELECT 1 FROM documents WHERE collection_id = :collection AND (name = :name OR origin = :origin)"
    " AND sha256 <> :sha256) ORDER BY name <> :name"
)
SET_MARK = (
    "UPDATE documents SET origin_mark = :mark WHERE collection_id = :collection AND sha256 = :sha256"
    " AND origin = :origin AND origin_mark IS NOT :mark"
)


class TruthError(MatineeError):
    """The data folder cannot be used by this version."""


class NameTakenError(MatineeError):
    """A document cannot take the place of one that came from elsewhere."""


class Outcome(StrEnum):
    """What became of a file that was added."""

    ADDED = "added"
    REPLACED = "replaced"
    THERE = "there"


@dataclass(frozen=True)
class Collection:
    """Documents that belong together; a private one is seen by who made it alone."""

    id: int
    name: str
    private: bool
    documents: int


@dataclass(frozen=True)
class StoredDocument:
    """A document in the store, without its text. `size` is the file's, in bytes."""

    id: int
    name: str
    size: int
    added: datetime
    kind: Kind
    pages: int | None
    passages: int
    collection_id: int
    collection: str
    tags: tuple[str, ...]
    notices: tuple[str, ...]
    page_names: tuple[str, ...]
    sha256: str
    origin: str | None


@dataclass(frozen=True)
class Passage:
    """A passage with the name and place of what it is from: `text` is the document's [start:end]."""

    id: int
    document_id: int
    document_name: str
    kind: Kind
    start: int
    end: int
    page: int | None
    last_page: int | None
    text: str


@dataclass(frozen=True)
class Scope:
    """What a search may see: all documents of the collections, or only those named of them."""

    collections: tuple[int, ...]
    documents: tuple[int, ...] | None = None

    @property
    def condition(self) -> str:
        """SQL which is true for the documents `d` within; its parameters are `parameters`."""
        named = "" if self.documents is None else " AND d.id IN (SELECT value FROM json_each(:documents))"
        return f"d.collection_id IN (SELECT value FROM json_each(:collections)){named}"

    @property
    def parameters(self) -> dict[str, str]:
        """What the condition's names stand for."""
        return {"collections": json.dumps(self.collections), "documents": json.dumps(self.documents)}


@dataclass(frozen=True)
class Origin:
    """Where a document comes from, and a mark there which changes with it (an ETag, a time)."""

    url: str
    mark: str | None = None


class Truth:
    """The SQLite file. Safe to use from several threads: readers never wait for the writer.

    Args:
        path: the file; made if it is not there.
        embedder: name of the model whose vectors are read and written; others' are kept.
        dimensions: their length.

    Raises:
        TruthError: if the file is damaged or from another version.
    """

    def __init__(self, path: Path, embedder: str, dimensions: int) -> None:
        self.embedder, self.dimensions = embedder, dimensions
        self._writing, self._reading = threading.Lock(), threading.Lock()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # SQLite refuses all but one of those who make a file at once
            self._writer, self._reader = self._connect(path), self._connect(path)
            self._prepare(path)
        except sqlite3.DatabaseError as error:
            raise TruthError(
                f"{path} cannot be read ({error}). Restore it from a backup, or move it away."
            ) from None
        finally:
            os.close(folder)

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._reading:  # whoever still reads ends first, or SQLite ends the process
            self._reader.close()
            self._writer.close()

    def read(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """Return all rows of a query."""
        with self._reading:  # statements of one connection that overlap see the file as the first began
            return self._reader.execute(query, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the file: all that is done in the block, or nothing of it."""
        with self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    def version(self) -> int:
        """Return a number which every change of what can be found makes another, whoever makes it."""
        number: int = self.read("SELECT number FROM version")[0][0]
        return number

    # Collections

    def collections(self, person: str) -> list[Collection]:
        """Return the collections this person sees, the default one first, then by name."""
        rows = self.read(
            "SELECT c.id, c.name, c.owner IS NOT NULL,"
            " (SELECT count(*) FROM documents WHERE collection_id = c.id) FROM collections c"
            f" WHERE {VISIBLE} ORDER BY c.id <> {DEFAULT_COLLECTION}, c.name",
            {"person": person},
        )
        return [Collection(id_, name, bool(private), documents) for id_, name, private, documents in rows]

    def add_collection(self, name: str, owner: str | None) -> int:
        """Make a collection; returns its id.

        Raises:
            sqlite3.IntegrityError: if there is one of this name.
        """
        with self.transaction() as connection:
            cursor = connection.execute("INSERT INTO collections (name, owner) VALUES (?, ?)", (name, owner))
            return int(cursor.lastrowid or 0)

    def rename_collection(self, collection_id: int, name: str) -> None:
        """Give a collection another name.

        Raises:
            sqlite3.IntegrityError: if there is one of this name.
        """
        with self.transaction() as connection:
            connection.execute("UPDATE collections SET name = ? WHERE id = ?", (name, collection_id))

    def remove_collection(self, collection_id: int) -> None:
        """Remove a collection with its documents."""
        with self._finding_changes() as connection:
            connection.execute("DELETE FROM collections WHERE id = ?", (collection_id,))

    # Documents

    def find(self, collection_id: int, name: str, sha256: str, origin: Origin | None = None) -> str | None:
        """Return the name of the document with this content in a collection, and note the origin's mark.

        None if it is not there, or something else is there of this name or origin, which it has to replace.
        """
        place = _place(collection_id, name, sha256, origin)
        rows = self.read(THERE, place)
        if rows and origin:
            with self.transaction() as connection:
                connection.execute(SET_MARK, place)
        return rows[0][0] if rows else None

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
        """Store a document with its file and passages, in place of one of the same name and origin.

        Content that is in the collection already is not stored again, unless it takes such a place.

        Args:
            collection_id: where it goes.
            document: the loaded file.
            sha256: of the file.
            data: the file.
            spans: the passages.
            vectors: one row for each span, made by this truth's embedder; None: they are made later.
            tags: words to sort it by; a replaced document keeps its own.
            origin: where it comes from.

        Raises:
            NameTakenError: if a document of this name came from elsewhere.
            sqlite3.IntegrityError: if there is no such collection.
        """
        url, mark = (origin.url, origin.mark) if origin else (None, None)
        with self._finding_changes() as connection:
            place = _place(collection_id, document.name, sha256, origin)
            if connection.execute(THERE, place).fetchone():
                connection.execute(SET_MARK, place)
                return Outcome.THERE
            connection.execute("INSERT INTO files VALUES (?, ?) ON CONFLICT DO NOTHING", (sha256, data))
            before = connection.execute(
                "SELECT id, origin FROM documents WHERE collection_id = ? AND name = ?",
                (collection_id, document.name),
            ).fetchone()
            if before and _page(before[1]) != _page(url):
                raise NameTakenError(
                    f"There is another document {document.name} in this collection, which came from "
                    f"{before[1] or 'an upload'}. Rename or remove one of them, or choose another collection."
                )
            if before:
                connection.execute("DELETE FROM passages WHERE document_id = ?", before[:1])
            connection.execute(  # what was there had another name when the source was a folder above or below
                "DELETE FROM documents WHERE collection_id = ? AND origin = ? AND name <> ?",
                (collection_id, url, document.name),
            )
            document_id = connection.execute(
                "INSERT INTO documents (collection_id, name, sha256, bytes, added, kind, page_starts,"
                " page_names, notices, tags, passages, origin, origin_mark, text)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (collection_id, name) DO UPDATE SET sha256 = excluded.sha256,"
                " bytes = excluded.bytes, added = excluded.added, kind = excluded.kind,"
                " page_starts = excluded.page_starts, page_names = excluded.page_names,"
                " notices = excluded.notices, passages = excluded.passages, origin = excluded.origin,"
                " origin_mark = excluded.origin_mark, text = excluded.text RETURNING id",
                (
                    collection_id,
                    document.name,
                    sha256,
                    len(data),
                    datetime.now(UTC).isoformat(timespec="seconds"),
                    document.kind,
                    json.dumps(document.page_starts),
                    json.dumps(document.page_names),
                    json.dumps(document.notices),
                    json.dumps(sorted(set(tags))),
                    len(spans),
                    url,
                    mark,
                    document.text,
                ),
            ).fetchone()[0]
            ids = [
                connection.execute(
                    "INSERT INTO passages (document_id, start, end, page, last_page, text)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        document_id,
                        span.start,
                        span.end,
                        span.page,
                        span.last_page,
                        document.text[span.start : span.end],
                    ),
                ).lastrowid
                for span in spans
            ]
            if vectors is not None:
                self._insert_vectors(connection, ids, vectors)
        return Outcome.REPLACED if before else Outcome.ADDED

    def remove(self, document_id: int) -> None:
        """Remove a document and everything made from it, if it is here."""
        with self._finding_changes() as connection:
            connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))

    def move(self, document_id: int, collection_id: int) -> None:
        """Put a document into another collection.

        Raises:
            sqlite3.IntegrityError: if a document of this name is there already.
        """
        with self._finding_changes() as connection:
            connection.execute(
                "UPDATE documents SET collection_id = ? WHERE id = ?", (collection_id, document_id)
            )

    def set_tags(self, document_id: int, tags: Sequence[str]) -> None:
        """Give a document these tags and no others."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE documents SET tags = ? WHERE id = ?", (json.dumps(sorted(set(tags))), document_id)
            )

    def documents(self, person: str, collection_id: int | None = None) -> list[StoredDocument]:
        """Return the documents this person sees, of all collections or of one, newest first."""
        rows = self.read(
            f"{DOCUMENT} WHERE {VISIBLE} AND (:collection IS NULL OR c.id = :collection)"
            " ORDER BY d.added DESC, d.id DESC",
            {"person": person, "collection": collection_id},
        )
        return [_stored(row) for row in rows]

    def document(self, document_id: int, person: str) -> StoredDocument | None:
        """Return a document, if it is here and this person sees it."""
        rows = self.read(f"{DOCUMENT} WHERE d.id = :id AND {VISIBLE}", {"id": document_id, "person": person})
        return _stored(rows[0]) if rows else None

    def count(self) -> tuple[int, int]:
        """Return how many documents and passages there are, whoever sees them."""
        rows = self.read("SELECT count(*), coalesce(sum(passages), 0) FROM documents")
        documents, passages = rows[0]
        return documents, passages

    def origins(self, prefix: str) -> dict[str, tuple[int, str | None]]:
        """Return id and mark of the documents whose origin begins like this, by origin."""
        rows = self.read(
            "SELECT origin, id, origin_mark FROM documents WHERE substr(origin, 1, length(?)) = ?",
            (prefix, prefix),
        )
        return {origin: (id_, mark) for origin, id_, mark in rows}

    def taken(self, url: str) -> str | None:
        """Return the mark with which a prebuilt index was taken in as a whole, if it was."""
        rows = self.read("SELECT mark FROM taken WHERE origin = ?", (url,))
        return rows[0][0] if rows else None

    def set_taken(self, origin: Origin) -> None:
        """Note that a prebuilt index has been taken in as a whole."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO taken VALUES (?, ?)", (origin.url, origin.mark))

    def file(self, document_id: int) -> bytes | None:
        """Return the document's original file."""
        rows = self.read(
            "SELECT f.data FROM files f JOIN documents d USING (sha256) WHERE d.id = ?", (document_id,)
        )
        return rows[0][0] if rows else None

    def text(self, document_id: int, start: int, end: int) -> str:
        """Return the document's text[start:end]; empty if the document is not here."""
        length = min(end - start, 2**31 - 1)  # SQLite takes a greater one for a negative one
        rows = self.read(
            "SELECT substr(text, ?, ?) FROM documents WHERE id = ?", (start + 1, length, document_id)
        )
        return rows[0][0] if rows else ""

    def page_starts(self, document_id: int) -> tuple[int, ...]:
        """Return the offsets at which the document's pages start; none if it has no pages."""
        rows = self.read("SELECT page_starts FROM documents WHERE id = ?", (document_id,))
        return tuple(json.loads(rows[0][0])) if rows else ()

    # Passages

    def passages(self, ids: Sequence[int]) -> dict[int, Passage]:
        """Return the passages that are here, by id."""
        return {passage.id: passage for passage in self._passages("p.id", ids)}

    def document_passages(self, document_id: int) -> list[Passage]:
        """Return a document's passages, in order."""
        return self._passages("p.document_id", [document_id])

    def count_passages(self, scope: Scope) -> int:
        """Return how many passages a search with this scope may see."""
        rows = self.read(
            f"SELECT coalesce(sum(d.passages), 0) FROM documents d WHERE {scope.condition}", scope.parameters
        )
        count: int = rows[0][0]
        return count

    def within(self, ids: Sequence[int], scope: Scope) -> set[int]:
        """Return those of the passages which a search with this scope may see."""
        rows = self.read(
            "SELECT p.id FROM json_each(:ids) i JOIN passages p ON p.id = i.value"
            f" JOIN documents d ON d.id = p.document_id WHERE {scope.condition}",
            {"ids": json.dumps(list(ids)), **scope.parameters},
        )
        return {row[0] for row in rows}

    # Vectors, of this truth's embedder

    def vector_ids(self) -> set[int]:
        """Return the ids of the passages which have a vector."""
        return {
            row[0] for row in self.read("SELECT passage_id FROM vectors WHERE embedder = ?", (self.embedder,))
        }

    def vectors(self, ids: Sequence[int] | None = None) -> tuple[list[int], Vectors]:
        """Return passage ids and their vectors, row by row; of all passages unless ids are given."""
        # without the condition, rather than with one that is always true: that would read every vector
        chosen = "" if ids is None else "AND passage_id IN (SELECT value FROM json_each(:ids))"
        rows = self.read(
            f"SELECT passage_id, vector FROM vectors WHERE embedder = :embedder {chosen} ORDER BY passage_id",
            {"embedder": self.embedder, "ids": None if ids is None else json.dumps(list(ids))},
        )
        return self._matrix(rows)

    def scope_vectors(self, scope: Scope) -> tuple[list[int], Vectors]:
        """Return ids and vectors of the passages within a scope."""
        rows = self.read(
            "SELECT v.passage_id, v.vector FROM documents d JOIN passages p ON p.document_id = d.id"
            " JOIN vectors v ON v.passage_id = p.id AND v.embedder = :embedder"
            f" WHERE {scope.condition}",
            {"embedder": self.embedder, **scope.parameters},
        )
        return self._matrix(rows)

    def without_vector(self, limit: int) -> list[tuple[int, str]]:
        """Return id and text of passages which have no vector yet."""
        return self.read(
            "SELECT id, text FROM passages p WHERE NOT EXISTS"
            " (SELECT 1 FROM vectors WHERE passage_id = p.id AND embedder = ?) LIMIT ?",
            (self.embedder, limit),
        )

    def add_vectors(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Store vectors of passages; those which are gone meanwhile, or have one, are left out."""
        with self._finding_changes() as connection:
            rows = connection.execute(
                "SELECT id FROM passages p WHERE id IN (SELECT value FROM json_each(?)) AND NOT EXISTS"
                " (SELECT 1 FROM vectors WHERE passage_id = p.id AND embedder = ?)",
                (json.dumps(list(ids)), self.embedder),
            )
            wanted = {row[0] for row in rows}
            rows_of_wanted = [row for row, key in enumerate(ids) if key in wanted]
            self._insert_vectors(connection, [ids[row] for row in rows_of_wanted], vectors[rows_of_wanted])

    def forget_other_embedders(self) -> None:
        """Remove the vectors of models which are no longer used."""
        others = self.read("SELECT 1 FROM vectors WHERE embedder <> ? LIMIT 1", (self.embedder,))
        if others:
            with self.transaction() as connection:
                connection.execute("DELETE FROM vectors WHERE embedder <> ?", (self.embedder,))

    def _passages(self, column: str, values: Sequence[int]) -> list[Passage]:
        rows = self.read(
            "SELECT p.id, d.id, d.name, d.kind, p.start, p.end, p.page, p.last_page, p.text"
            " FROM passages p JOIN documents d ON d.id = p.document_id"
            f" WHERE {column} IN (SELECT value FROM json_each(?)) ORDER BY p.id",
            (json.dumps(list(values)),),
        )
        return [
            Passage(id_, document, name, Kind(kind), start, end, page, last_page, text)
            for id_, document, name, kind, start, end, page, last_page, text in rows
        ]

    def _matrix(self, rows: Sequence[tuple[int, bytes]]) -> tuple[list[int], Vectors]:
        matrix = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), self.dimensions)
        return [row[0] for row in rows], matrix

    def _insert_vectors(
        self, connection: sqlite3.Connection, ids: Sequence[int | None], vectors: Vectors
    ) -> None:
        connection.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?)",
            (
                (key, self.embedder, vector.astype("<f4").tobytes())
                for key, vector in zip(ids, vectors, strict=True)
            ),
        )

    @contextmanager
    def _finding_changes(self) -> Iterator[sqlite3.Connection]:
        """A transaction which changes what can be found, and leaves no file behind which nobody has."""
        with self.transaction() as connection:
            before = connection.total_changes
            yield connection
            if connection.total_changes > before:
                connection.execute("DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM documents)")
                connection.execute("UPDATE version SET number = number + 1")

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self, path: Path) -> None:
        with closing(self._writer.execute("PRAGMA user_version")) as cursor:
            version = cursor.fetchone()[0]
        if version == 0:
            with self.transaction() as connection:
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise TruthError(
                f"{path} was written by another version of Matinee (its format is {version}, this one reads "
                f"{SCHEMA_VERSION}). Use that version, or set MATINEE_DATA to another folder."
            )


def _page(origin: str | None) -> str | None:
    """Return where a document is from, the same with http or https, with or without www. and a last slash."""
    return origin and re.sub(r"^https?://(www\.)?", "//", origin).rstrip("/")


def _place(collection_id: int, name: str, sha256: str, origin: Origin | None) -> dict[str, Any]:
    url, mark = (origin.url, origin.mark) if origin else (None, None)
    return {"collection": collection_id, "name": name, "sha256": sha256, "origin": url, "mark": mark}


def _stored(row: Sequence[Any]) -> StoredDocument:
    id_, name, size, added, kind, pages, passages, collection_id, collection, *lists, sha256, origin = row
    tags, notices, page_names = (tuple(json.loads(item)) for item in lists)
    return StoredDocument(
        id=id_,
        name=name,
        size=size,
        added=datetime.fromisoformat(added),
        kind=Kind(kind),
        pages=pages or None,
        passages=passages,
        collection_id=collection_id,
        collection=collection,
        tags=tags,
        notices=notices,
        page_names=page_names,
        sha256=sha256,
        origin=origin,
    )
