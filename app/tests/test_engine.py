"""What the app can do, with real documents, the real model and real Chroma."""

import pytest
from conftest import OpenEngine, ask, wait_for_index
from files import HARBOUR, LIGHTHOUSE, pdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matinee.answer import Kind
from matinee.documents import DocumentError
from matinee.stores.truth import Outcome
from matinee.workspace import Workspace


def test_an_answer_quotes_the_document_and_cites_the_page(workspace: Workspace) -> None:
    workspace.add("coast.pdf", pdf(HARBOUR, LIGHTHOUSE))
    answer = ask(workspace, "When was the electric lamp put into the lighthouse?")
    assert answer.kind is Kind.EXTRACTIVE
    assert "In 1932 the lamp was replaced by an electric one" in answer.text
    assert "[1]" in answer.text
    citation = answer.citations[0]
    assert citation.passage.document_name == "coast.pdf"
    assert (citation.passage.page, citation.passage.last_page) == (2, 2)


def test_a_citation_stands_in_its_document_where_it_says(workspace: Workspace) -> None:
    workspace.add_sample()
    for question in ("Why does the address stay the same?", "What is the CI user allowed to do?"):
        answer = ask(workspace, question)
        for citation in answer.citations:
            passage = citation.passage
            assert workspace.text(passage.document_id, passage.start, passage.end) == passage.text
            assert citation.quotes
            for start, end in citation.quotes:
                quote = workspace.text(passage.document_id, start, end)
                assert " ".join(quote.split()) in answer.text


@pytest.mark.parametrize(
    ("question", "evidence"),
    [
        ("What does a stopped demo still cost?", "0.005 USD an hour"),
        ("How does the host get the app's secrets?", "tmpfs"),
        ("Which operating system runs on the host?", "Debian 13"),
        ("Why not Secrets Manager?", "0.40 USD"),
        ("What happens if the registry cannot be reached?", "last image it has"),
        ("Where are documents kept?", "SQLite"),
    ],
)
def test_the_sample_answers_questions_about_it(workspace: Workspace, question: str, evidence: str) -> None:
    workspace.add_sample()
    answer = ask(workspace, question)
    assert answer.kind is Kind.EXTRACTIVE
    assert any(evidence in citation.passage.text for citation in answer.citations)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "How do I bake sourdough bread?",
        "Which vaccines are given to infants?",
        "???",
    ],
)
def test_what_the_documents_do_not_say_is_refused(workspace: Workspace, question: str) -> None:
    workspace.add_sample()
    answer = ask(workspace, question)
    assert answer.kind is Kind.UNSUPPORTED
    assert answer.text == ""


def test_without_documents_there_is_no_answer(workspace: Workspace) -> None:
    answer = ask(workspace, "Anything?")
    assert answer.kind is Kind.UNSUPPORTED
    assert answer.citations == ()


def test_the_same_file_twice_is_there_once(workspace: Workspace) -> None:
    data = pdf(HARBOUR)
    assert workspace.add("coast.pdf", data).outcome is Outcome.ADDED
    again = workspace.add("copy of coast.pdf", data)
    assert (again.outcome, again.name) == (Outcome.THERE, "coast.pdf")
    assert [document.name for document in workspace.documents()] == ["coast.pdf"]


def test_what_a_file_held_before_is_gone_though_its_new_content_is_there_under_another_name(
    workspace: Workspace,
) -> None:
    workspace.add("harbour.txt", HARBOUR.encode())
    newer = HARBOUR.replace("1874", "1911").encode()
    workspace.add("harbour-2026.txt", newer)
    added = workspace.add("harbour.txt", newer)
    assert (added.outcome, added.name) == (Outcome.REPLACED, "harbour.txt")
    assert {document.name for document in workspace.documents()} == {"harbour.txt", "harbour-2026.txt"}
    answer = ask(workspace, "When was the harbour dredged?")
    assert "1911" in answer.text
    assert all("1874" not in citation.passage.text for citation in answer.citations)
    again = workspace.add("harbour.txt", newer)
    assert (again.outcome, again.name) == (Outcome.THERE, "harbour.txt")


def test_a_removed_document_is_found_no_more(workspace: Workspace) -> None:
    wait_for_index(workspace.engine.health)
    workspace.add("harbour.md", f"# Harbour\n\n{HARBOUR}".encode())
    workspace.add("lighthouse.txt", LIGHTHOUSE.encode())
    question = "When was the harbour dredged?"
    citation = ask(workspace, question).citations[0]
    workspace.remove(citation.passage.document_id)
    assert all(
        found.passage.document_name == "lighthouse.txt" for found in ask(workspace, question).citations
    )
    assert workspace.text(citation.passage.document_id, 0, 100) == ""
    workspace.add("harbour.md", f"# Harbour\n\n{HARBOUR}".encode())
    assert ask(workspace, question).citations[0].passage.document_name == "harbour.md"


def test_progress_names_each_stage_and_reaches_the_end(workspace: Workspace) -> None:
    steps: list[tuple[str, float]] = []
    workspace.add_sample(lambda stage, share: steps.append((stage.split(" ")[0], share)))
    assert list(dict.fromkeys(stage for stage, _ in steps)) == [
        "Waiting",
        "Reading",
        "Splitting",
        "Embedding",
        "Saving",
    ]
    assert steps[-1][1] == 1.0
    assert all(0 <= share <= 1 for _, share in steps)


def test_a_file_over_the_limit_is_refused(open_engine: OpenEngine) -> None:
    engine = open_engine(MATINEE_MAX_UPLOAD_MB="1")
    with pytest.raises(DocumentError, match="the limit is 1 MB"):
        engine.add("long.txt", b"word " * 300_000)


@given(
    question=st.text(max_size=80)
    | st.sampled_from(['"', "a AND NOT b", "col:x*", "NEAR(a b)", "🎭", "'; DROP"])
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_question_can_be_asked(workspace: Workspace, question: str) -> None:
    workspace.add("harbour.txt", HARBOUR.encode())
    assert ask(workspace, question).kind in Kind
