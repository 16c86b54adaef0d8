"""The truth: one SQLite file with documents, passages, their vectors and a full-text index.

Every change is one transaction, on disk when the call returns.
"""

import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from matinee.documents import Document, Span
from matinee.embedding import Vectors
from matinee.errors import MatineeError

SCHEMA_VERSION = 1
SCHEMA = (
    "CREATE TABLE embedder (name TEXT NOT NULL, dimensions INTEGER NOT NULL)",
    """
    CREATE TABLE documents (
        id TEXT PRIMARY KEY,            -- SHA-256 of the file
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,         -- size of the file
        added TEXT NOT NULL,            -- ISO 8601, UTC
        page_starts TEXT NOT NULL,      -- JSON list of offsets, empty where there are no pages
        text TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE passages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: the vector index knows passages by it
        document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
        start INTEGER NOT NULL,         -- text is documents.text[start:end], in characters
        end INTEGER NOT NULL,
        page INTEGER,
        last_page INTEGER,
        text TEXT NOT NULL,
        vector BLOB NOT NULL            -- float32, little-endian, length 1
    )
    """,
    "CREATE INDEX passages_by_document ON passages (document_id)",
    """
    CREATE VIRTUAL TABLE passages_text USING fts5 (
        text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61'
    )
    """,
    """
    CREATE TRIGGER passages_added AFTER INSERT ON passages BEGIN
        INSERT INTO passages_text (rowid, text) VALUES (new.id, new.text);
    END
    """,
    """
    CREATE TRIGGER passages_removed AFTER DELETE ON passages BEGIN
        INSERT INTO passages_text (passages_text, rowid, text) VALUES ('delete', old.id, old.text);
    END
    """,
)


class TruthError(MatineeError):
    """The data folder cannot be used by this version."""


@dataclass(frozen=True)
class StoredDocument:
    """A document in the store, without its text. `size` is the file's, in bytes."""

    id: str
    name: str
    size: int
    added: datetime
    pages: int | None
    passages: int


@dataclass(frozen=True)
class Passage:
    """A passage with the name and place of what it is from: `text` is the document's [start:end]."""

    id: int
    document_id: str
    document_name: str
    start: int
    end: int
    page: int | None
    last_page: int | None
    text: str


class Truth:
    """The SQLite file. Safe to use from several threads: readers never wait for the writer.

    Args:
        path: the file; made if it is not there.
        embedder: name of the model whose vectors it holds.
        dimensions: their length.

    Raises:
        TruthError: if the file is damaged, from another version, or holds another model's vectors.
    """

    def __init__(self, path: Path, embedder: str, dimensions: int) -> None:
        self._dimensions = dimensions
        self._writing = threading.Lock()
        try:
            self._writer, self._reader = self._connect(path), self._connect(path)
            self._prepare(path, embedder)
        except sqlite3.DatabaseError as error:
            raise TruthError(
                f"{path} cannot be read ({error}). Restore it from a backup, or move it away."
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._writer.close()

    def add(
        self, document_id: str, document: Document, size: int, spans: Sequence[Span], vectors: Vectors
    ) -> list[int]:
        """Store a document with its passages; returns the passages' ids."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        pages = json.dumps(document.page_starts)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
                (document_id, document.name, size, now, pages, document.text),
            )
            insert = (
                "INSERT INTO passages (document_id, start, end, page, last_page, text, vector)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id"
            )
            ids = []
            for span, vector in zip(spans, vectors, strict=True):
                text = document.text[span.start : span.end]
                blob = vector.astype("<f4").tobytes()
                row = (document_id, span.start, span.end, span.page, span.last_page, text, blob)
                ids.append(connection.execute(insert, row).fetchone()[0])
        return ids

    def remove(self, document_id: str) -> list[int]:
        """Remove a document; returns the ids its passages had, none if there is no such document."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id FROM passages WHERE document_id = ?", (document_id,)
            ).fetchall()
            connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))
        return [row[0] for row in rows]

    def documents(self) -> list[StoredDocument]:
        """Return the documents, newest first."""
        rows = self._reader.execute(
            "SELECT id, name, bytes, added, json_array_length(page_starts),"
            " (SELECT count(*) FROM passages WHERE document_id = documents.id)"
            " FROM documents ORDER BY added DESC, rowid DESC"
        ).fetchall()
        return [
            StoredDocument(id_, name, size, datetime.fromisoformat(added), pages or None, passages)
            for id_, name, size, added, pages, passages in rows
        ]

    def document_name(self, document_id: str) -> str | None:
        """Return a document's name, or None if it is not here."""
        row = self._reader.execute("SELECT name FROM documents WHERE id = ?", (document_id,)).fetchone()
        return row[0] if row else None

    def text(self, document_id: str, start: int, end: int) -> str:
        """Return the document's text[start:end]; empty if the document is not here."""
        row = self._reader.execute(
            "SELECT substr(text, ?, ?) FROM documents WHERE id = ?", (start + 1, end - start, document_id)
        ).fetchone()
        return row[0] if row else ""

    def passages(self, ids: Sequence[int]) -> dict[int, Passage]:
        """Return the passages that are here, by id."""
        rows = self._reader.execute(
            "SELECT p.id, d.id, d.name, p.start, p.end, p.page, p.last_page, p.text"
            " FROM passages p JOIN documents d ON d.id = p.document_id"
            " WHERE p.id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        ).fetchall()
        return {row[0]: Passage(*row) for row in rows}

    def passage_ids(self) -> set[int]:
        """Return the ids of all passages."""
        return {row[0] for row in self._reader.execute("SELECT id FROM passages")}

    def vectors(self, ids: Sequence[int] | None = None) -> tuple[list[int], Vectors]:
        """Return passage ids and their vectors, row by row; of all passages unless ids are given."""
        rows = self._reader.execute(
            "SELECT id, vector FROM passages"
            " WHERE :ids IS NULL OR id IN (SELECT value FROM json_each(:ids)) ORDER BY id",
            {"ids": None if ids is None else json.dumps(list(ids))},
        ).fetchall()
        matrix = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), self._dimensions)
        return [row[0] for row in rows], matrix

    def matching(self, question: str, limit: int) -> dict[int, float]:
        """Return passages which share words with the question and their BM25 score (more is better)."""
        words = dict.fromkeys(re.findall(r"\w+", question.lower()))
        if not words:
            return {}
        rows = self._reader.execute(
            "SELECT rowid, -bm25(passages_text) FROM passages_text WHERE passages_text MATCH ?"
            " ORDER BY bm25(passages_text) LIMIT ?",
            (" OR ".join(f'"{word}"' for word in words), limit),
        ).fetchall()
        return dict(rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self, path: Path, embedder: str) -> None:
        with closing(self._writer.execute("PRAGMA user_version")) as cursor:
            version = cursor.fetchone()[0]
        if version == 0:
            with self._transaction() as connection:
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO embedder VALUES (?, ?)", (embedder, self._dimensions))
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise TruthError(
                f"{path} was written by another version of Matinee (its format is {version}, this one reads "
                f"{SCHEMA_VERSION}). Use that version, or set MATINEE_DATA to another folder."
            )
        stored = self._writer.execute("SELECT name FROM embedder").fetchone()
        if stored != (embedder,):
            raise TruthError(
                f"{path} holds vectors of the model {stored[0] if stored else 'unknown'}, this version uses "
                f"{embedder}. Set MATINEE_DATA to another folder and add the documents again."
            )
