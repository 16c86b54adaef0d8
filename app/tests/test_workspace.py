"""Collections, replacing, tags and filters, each seen by the person it is for and nobody else."""

import threading

import pytest
from conftest import OpenEngine, ask, wait_for_index
from files import HARBOUR, LIGHTHOUSE

from matinee.answer import Kind
from matinee.engine import Engine
from matinee.stores.truth import DEFAULT_COLLECTION, Outcome
from matinee.workspace import Workspace, WorkspaceError

QUESTION = "When was the harbour dredged?"


def sources(workspace: Workspace, **options: object) -> set[str]:
    """Return the names of all documents among the passages found."""
    trace = ask(workspace, QUESTION, **options).trace
    assert trace is not None
    return {candidate.document_name for candidate in trace.candidates}


def test_a_private_collection_is_seen_and_searched_by_its_owner_alone(engine: Engine) -> None:
    owner, other = engine.workspace("owner"), engine.workspace("other")
    private = owner.add_collection("Mine", private=True)
    owner.add("harbour.txt", HARBOUR.encode(), private.id)
    other.add("lighthouse.txt", LIGHTHOUSE.encode())
    document = owner.documents(private.id)[0]

    assert ask(owner, QUESTION).kind is Kind.EXTRACTIVE
    for index_is_ready in (False, True):
        if index_is_ready:
            wait_for_index(engine.health)
        assert sources(owner) == {"harbour.txt", "lighthouse.txt"}
        assert (
            sources(other)
            == sources(other, collections=[private.id, DEFAULT_COLLECTION])
            == {"lighthouse.txt"}
        )
        assert sources(other, documents=[document.id]) == set()

    assert [collection.name for collection in other.collections()] == ["Documents"]
    assert other.document(document.id) is None
    assert other.file(document.id) is None
    assert other.passages(document.id) == []
    assert other.text(document.id, 0, 100) == ""
    other.remove(document.id)
    for forbidden in (
        lambda: other.add("x.txt", b"Some text of a stranger.", private.id),
        lambda: other.move(document.id, DEFAULT_COLLECTION),
        lambda: other.set_tags(document.id, ["theirs"]),
        lambda: other.rename_collection(private.id, "Theirs"),
        lambda: other.remove_collection(private.id),
    ):
        with pytest.raises(WorkspaceError, match="There is no such"):
            forbidden()
    assert owner.document(document.id) == document


def test_a_changed_file_takes_the_place_of_the_earlier_one_and_keeps_its_tags(workspace: Workspace) -> None:
    workspace.add("harbour.txt", HARBOUR.encode(), tags=["coast"])
    before = workspace.documents()[0]
    added = workspace.add("harbour.txt", HARBOUR.replace("1874", "1911").encode())
    assert added.outcome is Outcome.REPLACED
    [document] = workspace.documents()
    assert (document.id, document.tags) == (before.id, ("coast",))
    assert document.sha256 != before.sha256
    assert "1911" in ask(workspace, QUESTION).text
    assert workspace.engine.truth.read("SELECT count(*) FROM files") == [(1,)]


def test_a_reader_never_sees_a_document_half_replaced(workspace: Workspace) -> None:
    versions = [f"All ships of fleet {letter} sailed to Lindow. " * 200 for letter in "AB"]
    workspace.add("fleet.txt", versions[0].encode())
    done = threading.Event()
    seen: list[set[str]] = []

    def look() -> None:
        while not done.is_set():
            passages = workspace.passages(workspace.documents()[0].id)
            seen.append({passage.text[19] for passage in passages if passage.text.startswith("All ships")})

    with_eyes = threading.Thread(target=look)
    with_eyes.start()
    for number in range(6):
        workspace.add("fleet.txt", versions[(number + 1) % 2].encode())
    done.set()
    with_eyes.join()
    assert seen
    assert all(letters in ({"A"}, {"B"}) for letters in seen)


def test_a_question_can_be_asked_of_some_collections_or_documents_only(workspace: Workspace) -> None:
    ports = workspace.add_collection("Ports")
    workspace.add("harbour.txt", HARBOUR.encode(), ports.id)
    workspace.add("lighthouse.txt", LIGHTHOUSE.encode())
    [harbour] = workspace.documents(ports.id)
    wait_for_index(workspace.engine.health)
    assert sources(workspace) == {"harbour.txt", "lighthouse.txt"}
    assert sources(workspace, collections=[ports.id]) == {"harbour.txt"}
    assert sources(workspace, collections=[DEFAULT_COLLECTION]) == {"lighthouse.txt"}
    assert sources(workspace, documents=[harbour.id]) == {"harbour.txt"}
    assert sources(workspace, collections=[]) == set()

    workspace.move(harbour.id, DEFAULT_COLLECTION)
    assert sources(workspace, collections=[ports.id]) == set()


def test_of_many_documents_those_in_scope_are_found_among_nearer_ones(workspace: Workspace) -> None:
    small = workspace.add_collection("Small")
    workspace.add("far.txt", b"The quay of Lindow was once repaired, nobody knows when.", small.id)
    for number in range(30):
        workspace.add(f"near-{number}.txt", f"The harbour was dredged in {1800 + number}.".encode())
    wait_for_index(workspace.engine.health)
    assert sources(workspace, collections=[small.id]) == {"far.txt"}


def test_a_removed_collection_takes_its_documents_with_it(workspace: Workspace) -> None:
    ports = workspace.add_collection("Ports")
    workspace.add("harbour.txt", HARBOUR.encode(), ports.id)
    workspace.remove_collection(ports.id)
    assert sources(workspace) == set()
    truth = workspace.engine.truth
    for table in ("documents", "passages", "vectors", "files"):
        assert truth.read(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608
    with pytest.raises(WorkspaceError, match="always there"):
        workspace.remove_collection(DEFAULT_COLLECTION)


def test_names_are_checked(workspace: Workspace) -> None:
    ports = workspace.add_collection("  Old   ports ")
    assert ports.name == "Old ports"
    with pytest.raises(WorkspaceError, match="There is a collection “old ports” already"):
        workspace.add_collection("old ports")
    with pytest.raises(WorkspaceError, match="A name is needed"):
        workspace.rename_collection(ports.id, " ")
    workspace.add("harbour.txt", HARBOUR.encode(), ports.id)
    workspace.add("harbour.txt", LIGHTHOUSE.encode())
    with pytest.raises(WorkspaceError, match=r"There is a document harbour\.txt in that collection"):
        workspace.move(workspace.documents(ports.id)[0].id, DEFAULT_COLLECTION)


def test_tags_are_kept_once_and_in_order(workspace: Workspace) -> None:
    workspace.add("harbour.txt", HARBOUR.encode())
    document = workspace.documents()[0]
    workspace.set_tags(document.id, ["port", "coast", "port"])
    assert workspace.documents()[0].tags == ("coast", "port")


def test_the_original_file_is_kept(open_engine: OpenEngine) -> None:
    data = HARBOUR.encode("utf-16")
    workspace = open_engine().workspace("visitor")
    workspace.add("harbour.txt", data)
    assert workspace.file(workspace.documents()[0].id) == data
