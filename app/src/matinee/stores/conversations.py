"""A person's conversations: every statement names the person, so nobody reads another's."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from matinee.documents import Kind
from matinee.errors import MatineeError

if TYPE_CHECKING:
    from matinee.answer import Answer
    from matinee.stores.truth import Passage, Truth

TITLE_LENGTH = 80
SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS conversations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        person TEXT NOT NULL,
        title TEXT NOT NULL,
        updated TEXT NOT NULL           -- ISO 8601, UTC
    )
    """,
    "CREATE INDEX IF NOT EXISTS conversations_by_person ON conversations (person, updated)",
    """
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        asked TEXT NOT NULL,            -- ISO 8601, UTC
        question TEXT NOT NULL,
        answer TEXT NOT NULL,           -- JSON of the whole answer with its citations
        words TEXT NOT NULL,            -- of question and answer, without case, to search in
        thumb INTEGER NOT NULL DEFAULT 0,
        note TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX IF NOT EXISTS messages_by_conversation ON messages (conversation_id)",
)


class ConversationError(MatineeError):
    """What was asked for cannot be done; the message says why."""


@dataclass(frozen=True)
class ConversationInfo:
    """A conversation in a list."""

    id: int
    title: str
    updated: datetime
    messages: int


@dataclass(frozen=True)
class Message:
    """A question and its answer; `thumb` is what the person thought of it: -1, 0 or 1."""

    id: int
    question: str
    answer: "Answer"
    asked: datetime
    thumb: int
    note: str


@dataclass(frozen=True)
class Conversation:
    """A conversation, oldest message first."""

    id: int
    title: str
    messages: tuple[Message, ...]


class Conversations:
    """The conversations of one person.

    Args:
        truth: the file that holds them.
        person: whose they are.
    """

    def __init__(self, truth: "Truth", person: str) -> None:
        self._truth = truth
        self._person = person

    def list(self, search: str = "") -> list[ConversationInfo]:
        """Return the conversations which hold all words of the search, last used first."""
        rows = self._truth.read(
            "SELECT id, title, updated, (SELECT count(*) FROM messages WHERE conversation_id = c.id)"
            " FROM conversations c WHERE person = ? ORDER BY updated DESC, id DESC",
            (self._person,),
        )
        found = [ConversationInfo(id_, title, _time(updated), count) for id_, title, updated, count in rows]
        for word in search.casefold().split():
            said = self._saying(word)
            found = [item for item in found if item.id in said or word in item.title.casefold()]
        return found

    def create(self, title: str) -> int:
        """Begin a conversation; returns its id."""
        with self._truth.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO conversations (person, title, updated) VALUES (?, ?, ?)",
                (self._person, _shortened(title), _now()),
            )
            return int(cursor.lastrowid or 0)

    def get(self, conversation_id: int) -> Conversation | None:
        """Return a conversation, if this person has it."""
        rows = self._truth.read(
            "SELECT c.title, m.id, m.question, m.answer, m.asked, m.thumb, m.note"
            " FROM conversations c LEFT JOIN messages m ON m.conversation_id = c.id"
            " WHERE c.id = ? AND c.person = ? ORDER BY m.id",
            (conversation_id, self._person),
        )
        if not rows:
            return None
        messages = tuple(
            Message(id_, question, _answer_from(answer), _time(asked), thumb, note)
            for _, id_, question, answer, asked, thumb, note in rows
            if id_ is not None
        )
        return Conversation(conversation_id, rows[0][0], messages)

    def rename(self, conversation_id: int, title: str) -> None:
        """Give a conversation another title.

        Raises:
            ConversationError: if the title is empty.
        """
        if not title.strip():
            raise ConversationError("A conversation needs a title.")
        with self._truth.transaction() as connection:
            connection.execute(
                "UPDATE conversations SET title = ? WHERE id = ? AND person = ?",
                (_shortened(title), conversation_id, self._person),
            )

    def remove(self, conversation_id: int) -> None:
        """Remove a conversation, if this person has it."""
        with self._truth.transaction() as connection:
            connection.execute(
                "DELETE FROM conversations WHERE id = ? AND person = ?", (conversation_id, self._person)
            )

    def append(self, conversation_id: int, question: str, answer: "Answer") -> int:
        """Add a question and its answer to a conversation; returns the message's id.

        Raises:
            ConversationError: if this person has no such conversation.
        """
        with self._truth.transaction() as connection:
            self._touch(connection, conversation_id)
            cursor = connection.execute(
                "INSERT INTO messages (conversation_id, asked, question, answer, words)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    conversation_id,
                    _now(),
                    question,
                    _answers().dump_json(answer).decode(),
                    f"{question}\n{answer.text}".casefold(),
                ),
            )
            return int(cursor.lastrowid or 0)

    def complete(self, message_id: int, answer: "Answer") -> None:
        """Put the whole answer in place of the one stored with the question, if that is still here."""
        with self._truth.transaction() as connection:
            connection.execute(
                "UPDATE messages SET answer = ?, words = words || char(10) || ?"
                " WHERE id = ? AND conversation_id IN (SELECT id FROM conversations WHERE person = ?)",
                (_answers().dump_json(answer).decode(), answer.text.casefold(), message_id, self._person),
            )

    def cut(self, conversation_id: int, message_id: int) -> None:
        """Remove a message and all after it, to ask it again or otherwise.

        Raises:
            ConversationError: if this person has no such conversation.
        """
        with self._truth.transaction() as connection:
            self._touch(connection, conversation_id)
            connection.execute(
                "DELETE FROM messages WHERE conversation_id = ? AND id >= ?", (conversation_id, message_id)
            )

    def rate(self, message_id: int, thumb: int, note: str = "") -> None:
        """Keep what the person thinks of an answer: -1, 0 or 1, and why."""
        with self._truth.transaction() as connection:
            connection.execute(
                "UPDATE messages SET thumb = ?, note = ? WHERE id = ? AND conversation_id IN"
                " (SELECT id FROM conversations WHERE person = ?)",
                (max(-1, min(1, thumb)), note, message_id, self._person),
            )

    def markdown(self, conversation_id: int) -> str:
        """Return a conversation as Markdown, each answer with the passages it cites; empty if not here."""
        conversation = self.get(conversation_id)
        if conversation is None:
            return ""
        parts = [f"# {conversation.title}"]
        for message in conversation.messages:
            parts += [f"## {message.question}", message.answer.text or "Not in these documents."]
            if message.answer.notice:
                parts.append(f"*{message.answer.notice}*")
            for citation in message.answer.citations:
                passage = citation.passage
                quoted = "\n".join(f"> {line}".rstrip() for line in passage.text.strip().splitlines())
                where = ", ".join(filter(None, (passage.document_name, place(passage))))
                parts.append(f"[{citation.number}] {where}\n\n{quoted}")
        return "\n\n".join(parts) + "\n"

    def json(self, conversation_id: int) -> str:
        """Return a conversation as JSON, with all that is known of each answer; empty if it is not here."""
        conversation = self.get(conversation_id)
        if conversation is None:
            return ""
        messages = [
            {
                "question": message.question,
                "asked": message.asked.isoformat(),
                "answer": _answers().dump_python(message.answer, mode="json"),
                "thumb": message.thumb,
                "note": message.note,
            }
            for message in conversation.messages
        ]
        return json.dumps({"title": conversation.title, "messages": messages}, ensure_ascii=False, indent=2)

    def _saying(self, word: str) -> set[int]:
        rows = self._truth.read(
            "SELECT DISTINCT conversation_id FROM messages m JOIN conversations c ON c.id = m.conversation_id"
            " WHERE c.person = ? AND instr(m.words, ?)",
            (self._person, word),
        )
        return {row[0] for row in rows}

    def _touch(self, connection: sqlite3.Connection, conversation_id: int) -> None:
        """Note that a conversation was used, which proves in the same transaction whose it is."""
        touched = connection.execute(
            "UPDATE conversations SET updated = ? WHERE id = ? AND person = ?",
            (_now(), conversation_id, self._person),
        ).rowcount
        if not touched:
            raise ConversationError("This conversation has been deleted. Begin a new one.")


def place(passage: "Passage") -> str:
    """Return where in its document a passage stands, such as "pages 3–4"; empty where there are no pages."""
    if passage.page is None:
        return ""
    unit = {Kind.SLIDES: "slide", Kind.TABLE: "sheet"}.get(passage.kind, "page")
    if passage.last_page and passage.last_page > passage.page:
        return f"{unit}s {passage.page}–{passage.last_page}"
    return f"{unit} {passage.page}"


@cache
def _answers() -> "TypeAdapter[Answer]":
    from matinee.answer import Answer  # it needs the truth, which needs this module

    return TypeAdapter(Answer)


def _answer_from(stored: str) -> "Answer":
    """Return a stored answer; of one that another version wrote in its own way, at least the text."""
    from matinee import answer

    try:
        return _answers().validate_json(stored)
    except ValidationError:
        fields: Any = json.loads(stored)
        notice = "Another version of Matinee wrote this answer. Regenerate it to see its sources."
        return answer.Answer(answer.Kind.MODEL, str(fields.get("text", "")), notice=notice)


def _shortened(title: str) -> str:
    title = " ".join(title.split())
    if len(title) <= TITLE_LENGTH:
        return title
    return title[:TITLE_LENGTH].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _time(stored: str) -> datetime:
    return datetime.fromisoformat(stored)
