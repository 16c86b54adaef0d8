"""The data folder survives a kill at any point, a lost or damaged index, and a second process."""

import os
import random
import shutil
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
from conftest import OpenEngine, ask, wait_for_index
from files import HARBOUR, LIGHTHOUSE

from matinee.documents import Document, Span
from matinee.engine import Engine
from matinee.stores.index import COLLECTION
from matinee.stores.truth import DEFAULT_COLLECTION, Outcome, Scope, TruthError

KILLS = 50
WRITER = """
import sys
from itertools import count
from matinee.engine import Engine
from matinee.settings import load_settings

engine = Engine(load_settings())
print("ready", flush=True)
for number in count(int(sys.argv[1])):
    text = f"The ship number {number} of the line carried {number * 7} barrels of oil. "
    text += "All ships of the line were built in Lindow before the war and broken up after it. " * 15
    engine.add(f"report-{number}.txt", text.encode())
    print(number, flush=True)
"""


@pytest.mark.timeout(900)
def test_what_was_acknowledged_before_a_kill_is_there_after_it(
    tmp_path: Path, open_engine: OpenEngine
) -> None:
    acknowledged: set[int] = set()
    environment = {**os.environ, "MATINEE_DATA": str(tmp_path / "data")}
    chance = random.Random(4711)  # noqa: S311 (moments, not secrets)
    passages = None

    def start(first: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(first)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    for kill in range(0, KILLS, 2):
        with start(1000 * kill) as one, start(1000 * kill + 500) as other:  # on the same folder
            for writer in (one, other):
                assert writer.stdout is not None
                assert writer.stdout.readline() == "ready\n"
            for writer in (one, other):
                time.sleep(chance.uniform(0, 0.6))
                writer.kill()
            for writer in (one, other):
                acknowledged.update(int(line) for line in writer.stdout or ())
        if kill % 10 == 0:
            engine = open_engine()
            workspace = engine.workspace("visitor")
            documents = workspace.documents()
            passages = passages or (documents[0].passages if documents else None)
            assert {document.passages for document in documents} <= {passages}, "a document is there in part"
            for document in documents[:: 1 + len(documents) // 5]:
                number = int(document.name.removeprefix("report-").removesuffix(".txt"))
                assert f"{number * 7} barrels" in ask(workspace, f"What did ship number {number} carry?").text
            engine.close()

    engine = open_engine()
    wait_for_index(engine.health)
    workspace = engine.workspace("visitor")
    names = [document.name for document in workspace.documents()]
    assert len(acknowledged) > KILLS / 2
    assert len(names) == len(set(names)) <= len(acknowledged) + KILLS
    assert {f"report-{number}.txt" for number in acknowledged} <= set(names)
    ids, _ = engine.truth.vectors()
    assert len(ids) == len(set(ids)) == engine.truth.count()[1] == len(names) * (passages or 0)
    for number in sorted(acknowledged)[::10]:
        assert f"{number * 7} barrels" in ask(workspace, f"What did ship number {number} carry?").text


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
    wait_for_index(engine.health)
    before = ask(engine.workspace("visitor"), question)
    engine.close()

    index = tmp_path / "data" / "index"
    generation = next(index.iterdir()).name
    damage(index)
    engine = open_engine()
    meanwhile = ask(engine.workspace("visitor"), question)
    wait_for_index(engine.health)
    after = ask(engine.workspace("visitor"), question)
    assert before.text == meanwhile.text == after.text
    assert before.citations == meanwhile.citations == after.citations
    assert damage is lose or [path.name for path in index.iterdir()] != [generation]
    assert engine.health() == {"status": "ok", "documents": 1, "index": "ready"}


def test_what_changes_while_the_index_is_built_or_checked_is_in_it_afterwards(
    tmp_path: Path, open_engine: OpenEngine
) -> None:
    engine = open_engine()
    engine.add_sample()  # it is being built
    wait_for_index(engine.health)
    engine.close()

    engine = open_engine()
    workspace = engine.workspace("visitor")
    workspace.remove(workspace.documents()[0].id)  # it is being checked
    workspace.add("harbour.txt", HARBOUR.encode())
    wait_for_index(engine.health)
    answer = ask(workspace, "When was the harbour dredged?")
    assert [citation.passage.document_name for citation in answer.citations] == ["harbour.txt"]
    engine.close()

    before = [path.name for path in (tmp_path / "data" / "index").iterdir()]
    engine = open_engine()
    wait_for_index(engine.health)
    assert [path.name for path in (tmp_path / "data" / "index").iterdir()] == before, "a sound index is kept"


def test_what_one_of_two_adds_or_removes_the_other_knows_at_once(open_engine: OpenEngine) -> None:
    owner, other = open_engine(), open_engine()
    wait_for_index(owner.health)
    assert other.health()["index"] == "waiting"

    def found(engine: Engine) -> list[str]:
        answer = ask(engine.workspace("visitor"), "Beacon?")  # no word of it, so only its vectors lead there
        return [citation.passage.document_name for citation in answer.citations]

    for one, another in ((owner, other), (other, owner)):
        assert found(one) == found(another) == []
        one.add("lighthouse.txt", LIGHTHOUSE.encode())
        assert another.add("same.txt", LIGHTHOUSE.encode()).outcome is Outcome.THERE
        assert found(one) == found(another) == ["lighthouse.txt"]
        workspace = another.workspace("visitor")
        workspace.remove(workspace.documents()[0].id)
        assert found(one) == found(another) == []

    owner.close()
    other.add("lighthouse.txt", LIGHTHOUSE.encode())
    wait_for_index(other.health)
    assert found(other) == ["lighthouse.txt"]


def test_a_change_that_fails_in_the_middle_leaves_nothing(engine: Engine) -> None:
    spans = [Span(0, 10, None, None), Span(10, 20, None, None)]
    document, vectors = Document("harbour.txt", HARBOUR), np.zeros((1, 384), np.float32)
    with pytest.raises(ValueError, match="shorter"):
        engine.truth.add(DEFAULT_COLLECTION, document, "hash", b"data", spans, vectors)
    for table in ("documents", "passages", "files", "vectors"):
        assert engine.truth.read(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608
    assert engine.store.words.matching("harbour", 10, Scope((DEFAULT_COLLECTION,))) == {}


REEMBED = """
import sys
from pathlib import Path
from matinee.embedding import LocalEmbedder
from matinee.settings import load_settings
from matinee.stores.local import LocalStore

class Renamed(LocalEmbedder):
    name = "another-model"

settings = load_settings()
store = LocalStore(settings.data, Renamed(settings.model))
print("open", flush=True)
while len(store.truth.vector_ids()) < store.truth.count()[1]:
    pass
store.close()
"""


@pytest.mark.timeout(300)
def test_another_embedding_model_makes_new_vectors_by_itself_and_goes_on_after_a_kill(
    tmp_path: Path, open_engine: OpenEngine
) -> None:
    engine = open_engine()
    text = "".join(f"Ship {number} of Lindow sailed in {1700 + number}.\n\n" * 8 for number in range(300))
    engine.add("ships.txt", text.encode())
    question = "When did ship 217 of Lindow sail?"
    before = ask(engine.workspace("visitor"), question)
    passages = engine.truth.count()[1]
    engine.close()

    environment = {**os.environ, "MATINEE_DATA": str(tmp_path / "data")}

    def reembed() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", REEMBED]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    database = tmp_path / "data" / "matinee.db"

    def made() -> int:
        with sqlite3.connect(database, timeout=60) as connection:
            query = "SELECT count(*) FROM vectors WHERE embedder = 'another-model'"
            return int(connection.execute(query).fetchone()[0])

    with reembed() as process:
        while not made():
            time.sleep(0.01)
        process.kill()
    kept = made()
    assert 0 < kept < passages
    with reembed() as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert made() >= kept, "what was done is done"
        assert process.wait(timeout=100) == 0
    assert made() == passages

    engine = open_engine()  # the first model again
    assert ask(engine.workspace("visitor"), question).text == before.text
    deadline = time.monotonic() + 60
    while len(engine.truth.vector_ids()) < passages or made():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_for_index(engine.health)
    assert ask(engine.workspace("visitor"), question).text == before.text


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
