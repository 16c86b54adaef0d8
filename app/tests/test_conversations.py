"""The conversations people have: kept, found, exported, and nobody else's."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import OpenEngine

from matinee.answer import Answer, Citation, Kind
from matinee.documents import Kind as DocumentKind
from matinee.engine import Engine
from matinee.errors import MatineeError
from matinee.stores.conversations import Conversations
from matinee.stores.truth import Passage
from matinee.workspace import Workspace

PASSAGE = Passage(
    7, 3, "coast.pdf", DocumentKind.PDF, 10, 60, 2, 3, "It was first lit in 1881\nand burned rape oil."
)
ANSWER = Answer(Kind.EXTRACTIVE, "It was first lit in 1881. [1]", (Citation(1, PASSAGE, ((10, 34),)),))


@pytest.fixture
def ann(engine: Engine) -> Workspace:
    """A person's workspace."""
    return engine.workspace("ann")


@pytest.fixture
def conversations(ann: Workspace) -> Conversations:
    """That person's conversations."""
    return ann.conversations


def test_a_conversation_is_kept_whole_and_outlives_the_process(open_engine: OpenEngine) -> None:
    first = open_engine()
    key = first.workspace("ann").conversations.create("When was the lamp lit?")
    first.workspace("ann").conversations.append(key, "When was the lamp lit?", ANSWER)
    first.close()
    conversation = open_engine().workspace("ann").conversations.get(key)
    assert conversation is not None
    assert conversation.title == "When was the lamp lit?"
    [message] = conversation.messages
    assert message.question == "When was the lamp lit?"
    assert message.answer == ANSWER


def test_nobody_reads_or_changes_what_another_said(engine: Engine, conversations: Conversations) -> None:
    key = conversations.create("Mine")
    message = conversations.append(key, "When?", ANSWER)
    other = engine.workspace("bob").conversations
    assert other.list() == []
    assert other.list("when") == []
    assert other.get(key) is None
    assert other.markdown(key) == other.json(key) == ""
    other.rename(key, "Bob's")
    other.remove(key)
    other.rate(message, -1, "bad")
    other.complete(message, Answer(Kind.MODEL, "Never."))
    for change in (lambda: other.append(key, "Why?", ANSWER), lambda: other.cut(key, message)):
        with pytest.raises(MatineeError, match="deleted"):
            change()
    mine = conversations.get(key)
    assert mine is not None
    assert (mine.title, len(mine.messages)) == ("Mine", 1)
    assert (mine.messages[0].answer, mine.messages[0].thumb, mine.messages[0].note) == (ANSWER, 0, "")


def test_the_last_used_comes_first(conversations: Conversations) -> None:
    first, second = conversations.create("First"), conversations.create("Second")
    assert [item.id for item in conversations.list()] == [second, first]
    conversations.append(first, "When?", ANSWER)
    assert [(item.id, item.messages) for item in conversations.list()] == [(first, 1), (second, 0)]


@pytest.mark.parametrize("words", ["LAMP", "lit 1881", "straße", "ÉLECTRIQUE lamp", "100%", "_"])
def test_it_is_found_by_words_of_its_title_questions_and_answers(
    conversations: Conversations, words: str
) -> None:
    key = conversations.create("The lamp of Straße 9")
    conversations.append(key, "100% électrique, in snake_case?", ANSWER)
    other = conversations.create("Something else")
    conversations.append(other, "How deep is the channel?", Answer(Kind.MODEL, "Six metres."))
    assert [item.id for item in conversations.list(words)] == [key]


def test_editing_a_question_removes_what_came_after_it(conversations: Conversations) -> None:
    key = conversations.create("Lamp")
    ids = [conversations.append(key, question, ANSWER) for question in ("One?", "Two?", "Three?")]
    conversations.cut(key, ids[1])
    conversation = conversations.get(key)
    assert conversation is not None
    assert [message.question for message in conversation.messages] == ["One?"]
    conversations.complete(ids[2], ANSWER)  # an answer that was still being written is not wanted any more
    assert conversations.get(key) == conversation


def test_what_the_person_thinks_of_an_answer_is_kept(conversations: Conversations) -> None:
    key = conversations.create("Lamp")
    message = conversations.append(key, "When?", ANSWER)
    conversations.rate(message, -1, "The year is wrong.")
    conversation = conversations.get(key)
    assert conversation is not None
    assert (conversation.messages[0].thumb, conversation.messages[0].note) == (-1, "The year is wrong.")


def test_it_is_exported_with_the_passages_it_cites(conversations: Conversations) -> None:
    key = conversations.create("Lamp")
    conversations.append(key, "When was it lit?", ANSWER)
    conversations.append(key, "Where is Paris?", Answer(Kind.UNSUPPORTED, ""))
    assert conversations.markdown(key) == (
        "# Lamp\n\n## When was it lit?\n\nIt was first lit in 1881. [1]\n\n"
        "[1] coast.pdf, pages 2–3\n\n> It was first lit in 1881\n> and burned rape oil.\n\n"
        "## Where is Paris?\n\nNot in these documents.\n"
    )
    exported = json.loads(conversations.json(key))
    assert exported["title"] == "Lamp"
    assert exported["messages"][0]["question"] == "When was it lit?"
    assert exported["messages"][0]["answer"]["citations"][0]["passage"]["document_name"] == "coast.pdf"


@pytest.mark.parametrize(
    "stored",
    [
        '{"kind": "model", "text": "In 1881.", "citations": [], "mood": "sure"}',  # a field now gone
        '{"kind": "oracle", "text": "In 1881."}',  # a kind there was once
        '{"kind": "model", "text": "In 1881.", "citations": [{"number": 1}]}',  # a field that came since
    ],
)
def test_an_answer_of_another_version_still_opens(
    conversations: Conversations, tmp_path: Path, stored: str
) -> None:
    key = conversations.create("Lamp")
    conversations.append(key, "When?", ANSWER)
    with closing(sqlite3.connect(tmp_path / "data" / "matinee.db")) as file, file:
        file.execute("UPDATE messages SET answer = ?", (stored,))
    conversation = conversations.get(key)
    assert conversation is not None
    assert conversation.messages[0].answer.text == "In 1881."


def test_a_title_is_short_and_never_empty(conversations: Conversations) -> None:
    key = conversations.create("How far can the light of the lighthouse be seen, " * 5)
    conversation = conversations.get(key)
    assert conversation is not None
    assert len(conversation.title) <= 81
    assert conversation.title.endswith("…")
    with pytest.raises(MatineeError, match="needs a title"):
        conversations.rename(key, "  ")
