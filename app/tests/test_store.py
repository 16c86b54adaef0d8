"""The data folder survives a kill at any point, a lost or damaged index, and a second owner."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.api.client import Client
from chromadb.api.models.Collection import Collection
from conftest import OpenEngine
from files import HARBOUR

from matinee.answer import Answer
from matinee.documents import Document, Span
from matinee.engine import Engine
from matinee.stores.index import COLLECTION
from matinee.stores.lock import FolderInUseError
from matinee.stores.truth import TruthError

WRITER = """
import sys
from itertools import count
from matinee.engine import Engine
from matinee.settings import load_settings

engine = Engine(load_settings())
for number in count(int(sys.argv[1])):
    text = f"Report {number}. The ship number {number} of the line carried {number * 7} barrels of oil. " * 12
    engine.add(f"report-{number}.txt", text.encode())
    print(number, flush=True)
"""


def test_what_was_acknowledged_before_a_kill_is_there_after_it(
    tmp_path: Path, open_engine: OpenEngine
) -> None:
    acknowledged: list[int] = []
    environment = {**os.environ, "MATINEE_DATA": str(tmp_path / "data")}
    for adds_before_kill in (1, 6, 3, 9):
        first = max(acknowledged, default=-1) + 2  # the one after the last may be there, unacknowledged
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(first)], env=environment, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(adds_before_kill):
                acknowledged.append(int(writer.stdout.readline()))
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout]

    engine = open_engine()
    assert engine.wait_for_index(60)
    documents = {document.name: document for document in engine.documents()}
    for number in acknowledged:
        assert documents[f"report-{number}.txt"].passages > 0
    assert len(documents) <= len(acknowledged) + 4
    assert len({document.passages for document in documents.values()}) == 1, "a document is there in part"
    for number in acknowledged[::4]:
        *_, answer = engine.ask(f"What did ship number {number} carry?")
        assert isinstance(answer, Answer)
        assert f"{number * 7} barrels" in answer.text


def lose(index: Path) -> None:
    """Delete the index."""
    shutil.rmtree(index)


def scramble(index: Path) -> None:
    """Overwrite every file of the index."""
    for path in index.rglob("*"):
        if path.is_file():
            path.write_bytes(os.urandom(max(64, path.stat().st_size)))


def truncate(index: Path) -> None:
    """Empty the index's vector files but not its catalogue, as a power loss can."""
    for path in index.rglob("*.bin"):
        path.write_bytes(b"")
    next(index.rglob("chroma.sqlite3")).write_bytes(b"")


@contextmanager
def open_collection(index: Path) -> Iterator[Collection]:
    """Open Chroma's collection, and close its files afterwards."""
    client = Client(
        settings=chromadb.Settings(is_persistent=True, persist_directory=str(next(index.iterdir())))
    )
    yield client.get_collection(COLLECTION, embedding_function=None)
    client.close()


def drop_a_vector(index: Path) -> None:
    """Make the index forget one passage."""
    with open_collection(index) as collection:
        collection.delete(ids=collection.get(limit=1, include=[])["ids"])


def turn_a_vector(index: Path) -> None:
    """Make the index hold another vector than the truth."""
    with open_collection(index) as collection:
        last = collection.get(include=[])["ids"][-1]
        collection.update(ids=[last], embeddings=np.eye(1, 384, dtype=np.float32))


@pytest.mark.parametrize("damage", [lose, scramble, truncate, drop_a_vector, turn_a_vector])
def test_a_damaged_index_is_built_again_while_questions_are_answered(
    tmp_path: Path, open_engine: OpenEngine, damage: Callable[[Path], None]
) -> None:
    question = "Why does the address stay the same?"
    engine = open_engine()
    engine.add_sample()
    assert engine.wait_for_index(60)
    *_, before = engine.ask(question)
    engine.close()

    index = tmp_path / "data" / "index"
    generation = next(index.iterdir()).name
    damage(index)
    engine = open_engine()
    *_, meanwhile = engine.ask(question)
    assert engine.wait_for_index(60)
    *_, after = engine.ask(question)
    assert before == meanwhile == after
    assert damage is lose or [path.name for path in index.iterdir()] != [generation]
    assert engine.health() == {"status": "ok", "documents": 1, "index": "ready"}


def test_a_sound_index_is_kept(tmp_path: Path, open_engine: OpenEngine) -> None:
    engine = open_engine()
    engine.add_sample()
    assert engine.wait_for_index(60)
    engine.close()
    before = [path.name for path in (tmp_path / "data" / "index").iterdir()]
    engine = open_engine()
    assert engine.wait_for_index(60)
    assert [path.name for path in (tmp_path / "data" / "index").iterdir()] == before


def test_what_changes_while_the_index_is_checked_is_in_it_afterwards(open_engine: OpenEngine) -> None:
    engine = open_engine()
    engine.add_sample()
    engine.close()
    engine = open_engine()
    engine.remove(engine.documents()[0].id)
    engine.add("harbour.txt", HARBOUR.encode())
    assert engine.wait_for_index(60)
    *_, answer = engine.ask("When was the harbour dredged?")
    assert isinstance(answer, Answer)
    assert [citation.passage.document_name for citation in answer.citations] == ["harbour.txt"]


def test_what_changes_while_the_index_is_built_is_in_it_afterwards(
    tmp_path: Path, open_engine: OpenEngine
) -> None:
    engine = open_engine()
    index = engine._store._index
    with index.changing:  # the worker waits for this when it has built the index and takes up the changes
        deadline = time.monotonic() + 60
        while index._collection is None and time.monotonic() < deadline:
            index._worker.join(0.05)
        engine.add("harbour.txt", HARBOUR.encode())
    assert engine.wait_for_index(60)
    engine.close()
    before = [path.name for path in (tmp_path / "data" / "index").iterdir()]
    assert open_engine().wait_for_index(60)
    assert [path.name for path in (tmp_path / "data" / "index").iterdir()] == before


def test_a_change_that_fails_in_the_middle_leaves_nothing(engine: Engine) -> None:
    truth = engine._store.truth
    spans = [Span(0, 10, None, None), Span(10, 20, None, None)]
    with pytest.raises(ValueError, match="shorter"):
        truth.add("id", Document("harbour.txt", HARBOUR), 20, spans, np.zeros((1, 384), np.float32))
    assert engine.documents() == []
    assert truth.matching("harbour", 10) == {}


def test_a_second_process_is_told_who_owns_the_folder(tmp_path: Path, engine: Engine) -> None:
    command = [sys.executable, "-m", "matinee"]
    environment = {**os.environ, "MATINEE_DATA": str(tmp_path / "data")}
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "is in use by another Matinee" in second.stderr
    assert f'"process": {os.getpid()}' in second.stderr
    assert "Traceback" not in second.stderr
    assert engine.health()["status"] == "ok"


def test_the_folder_is_free_once_its_owner_has_closed_it(open_engine: OpenEngine) -> None:
    first = open_engine()
    with pytest.raises(FolderInUseError):
        open_engine()
    first.close()
    open_engine()


def test_a_truth_of_another_version_is_left_alone(tmp_path: Path, open_engine: OpenEngine) -> None:
    open_engine().close()
    path = tmp_path / "data" / "matinee.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(TruthError, match="another version of Matinee"):
        open_engine()


def test_a_damaged_truth_is_an_error_not_an_empty_library(tmp_path: Path, open_engine: OpenEngine) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "matinee.db").write_bytes(
        b"not a database, and long enough to have a header of one" * 40
    )
    with pytest.raises(TruthError, match="cannot be read"):
        open_engine()
