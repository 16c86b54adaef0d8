"""What the app can do, with real documents, the real model and real Chroma."""

import pytest
from conftest import OpenEngine
from files import HARBOUR, LIGHTHOUSE, pdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matinee.answer import Answer, Kind
from matinee.documents import DocumentError
from matinee.engine import Engine


def ask(engine: Engine, question: str) -> Answer:
    """Return the whole answer."""
    *_, answer = engine.ask(question)
    assert isinstance(answer, Answer)
    return answer


def test_an_answer_quotes_the_document_and_cites_the_page(engine: Engine) -> None:
    engine.add("coast.pdf", pdf(HARBOUR, LIGHTHOUSE))
    answer = ask(engine, "When was the electric lamp put into the lighthouse?")
    assert answer.kind is Kind.EXTRACTIVE
    assert "In 1932 the lamp was replaced by an electric one" in answer.text
    assert "[1]" in answer.text
    citation = answer.citations[0]
    assert citation.passage.document_name == "coast.pdf"
    assert citation.passage.last_page == 2


def test_a_citation_opens_in_its_place(engine: Engine) -> None:
    engine.add_sample()
    for question in ("Why does the address stay the same?", "What is the CI user allowed to do?"):
        for citation in ask(engine, question).citations:
            extract = engine.around(citation)
            start = citation.passage.start - extract.offset
            assert extract.text[start:].startswith(citation.passage.text)
            for first, last in citation.quotes:
                quote = " ".join(extract.text[first - extract.offset : last - extract.offset].split())
                assert quote in ask(engine, question).text


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
def test_the_sample_answers_questions_about_it(engine: Engine, question: str, evidence: str) -> None:
    engine.add_sample()
    answer = ask(engine, question)
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
def test_what_the_documents_do_not_say_is_refused(engine: Engine, question: str) -> None:
    engine.add_sample()
    answer = ask(engine, question)
    assert answer.kind is Kind.UNSUPPORTED
    assert answer.text == ""


def test_without_documents_there_is_no_answer(engine: Engine) -> None:
    assert ask(engine, "Anything?") == Answer(Kind.UNSUPPORTED, "")


def test_the_same_file_twice_is_there_once(engine: Engine) -> None:
    data = pdf(HARBOUR)
    assert not engine.add("coast.pdf", data).already_there
    again = engine.add("copy of coast.pdf", data)
    assert again.already_there
    assert again.name == "coast.pdf"
    assert [document.name for document in engine.documents()] == ["coast.pdf"]


def test_a_removed_document_is_found_no_more(engine: Engine) -> None:
    assert engine.wait_for_index()
    engine.add("harbour.md", f"# Harbour\n\n{HARBOUR}".encode())
    engine.add("lighthouse.txt", LIGHTHOUSE.encode())
    question = "When was the harbour dredged?"
    citation = ask(engine, question).citations[0]
    engine.remove(citation.passage.document_id)
    assert all(found.passage.document_name == "lighthouse.txt" for found in ask(engine, question).citations)
    assert engine.around(citation).text == ""
    engine.add("harbour.md", f"# Harbour\n\n{HARBOUR}".encode())
    assert ask(engine, question).citations[0].passage.document_name == "harbour.md"


def test_progress_names_each_stage_and_reaches_the_end(engine: Engine) -> None:
    steps: list[tuple[str, float]] = []
    engine.add_sample(lambda stage, share: steps.append((stage.split(" ")[0], share)))
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
    with pytest.raises(DocumentError, match="larger than 1 MB"):
        engine.add("long.txt", b"word " * 300_000)


@given(
    question=st.text(max_size=80)
    | st.sampled_from(['"', "a AND NOT b", "col:x*", "NEAR(a b)", "🎭", "'; DROP"])
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_question_can_be_asked(engine: Engine, question: str) -> None:
    engine.add("harbour.txt", HARBOUR.encode())
    assert ask(engine, question).kind in Kind
