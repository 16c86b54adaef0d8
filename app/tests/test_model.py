"""Answers of a language model, over HTTP from a local server that speaks OpenAI's API and fails on demand."""

import pytest
from conftest import OpenEngine, free_port
from files import HARBOUR
from llmock.pytest_plugin import LLMock

from matinee.answer import Answer, Delta, Kind
from matinee.engine import Engine

KEY = "sk-this-is-a-secret-of-the-test"
QUESTION = "When was the harbour dredged?"
SUPPORTED = "It was dredged in **1874** [1]. A toll on coal paid for it [1, 7]."


@pytest.fixture
def engine(open_engine: OpenEngine, llmock: LLMock) -> Engine:
    """An engine with one document and a model."""
    engine = open_engine(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=llmock.base_url(), OPENAI_MODEL="gpt-4o-mini")
    engine.add("harbour.txt", HARBOUR.encode())
    return engine


def ask(engine: Engine) -> tuple[str, Answer]:
    """Return what was streamed, and the whole answer."""
    *parts, answer = engine.ask(QUESTION)
    assert isinstance(answer, Answer)
    return "".join(part.text for part in parts if isinstance(part, Delta)), answer


def test_the_model_is_given_the_passages_and_its_answer_is_streamed(engine: Engine, llmock: LLMock) -> None:
    llmock.reply(SUPPORTED)
    streamed, answer = ask(engine)
    assert streamed == SUPPORTED
    assert answer.kind is Kind.MODEL
    assert answer.notice is None
    assert HARBOUR in str(llmock.requests[-1].body)
    llmock.assert_resilient()


def test_a_citation_of_a_passage_it_was_not_given_is_dropped(engine: Engine, llmock: LLMock) -> None:
    llmock.reply(SUPPORTED)
    _, answer = ask(engine)
    assert answer.text == "It was dredged in **1874** [1]. A toll on coal paid for it [1]."
    assert [citation.passage.text for citation in answer.citations] == [HARBOUR]


def test_a_model_that_finds_nothing_refuses_and_shows_nothing_else(engine: Engine, llmock: LLMock) -> None:
    llmock.reply("NOT IN THE DOCUMENTS")
    streamed, answer = ask(engine)
    assert streamed == ""
    assert answer.kind is Kind.UNSUPPORTED


def test_an_answer_without_a_source_is_not_shown(engine: Engine, llmock: LLMock) -> None:
    llmock.reply("Everybody knows that it was dredged in 1066.")
    _, answer = ask(engine)
    assert answer.kind is Kind.UNSUPPORTED
    assert "without naming a source" in str(answer.notice)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "did not accept the request"),
        (401, "did not accept the key; check OPENAI_API_KEY"),
        (404, "check OPENAI_MODEL"),
        (429, "over its limit"),
        (500, "has a problem of its own"),
        (503, "has a problem of its own"),
    ],
)
def test_an_error_is_told_in_words_and_the_documents_are_quoted(
    engine: Engine, llmock: LLMock, status: int, words: str
) -> None:
    llmock.fail(status, times=None, message=f"Incorrect API key provided: {KEY}", retry_after=0.1)
    _, answer = ask(engine)
    assert words in str(answer.notice)
    assert answer.kind is Kind.EXTRACTIVE
    assert "1874" in answer.text
    assert KEY not in repr(answer)
    llmock.assert_resilient()


@pytest.mark.parametrize("fault", ["truncate", "disconnect", "corrupt"])
def test_a_stream_that_breaks_off_is_not_taken_for_an_answer(
    engine: Engine, llmock: LLMock, fault: str
) -> None:
    llmock.reply(SUPPORTED)
    getattr(llmock, fault)(after_chunks=4)
    _, answer = ask(engine)
    assert answer.kind is Kind.EXTRACTIVE
    assert answer.notice is not None
    assert "127.0.0.1" in answer.notice


def test_a_short_limit_is_waited_for(engine: Engine, llmock: LLMock) -> None:
    llmock.rate_limit(times=1, retry_after=0.2)
    llmock.reply(SUPPORTED)
    assert ask(engine)[1].kind is Kind.MODEL
    llmock.assert_resilient()


def test_an_address_where_nobody_answers_is_told_in_words(open_engine: OpenEngine) -> None:
    engine = open_engine(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"http://127.0.0.1:{free_port()}/v1")
    engine.add("harbour.txt", HARBOUR.encode())
    assert "check OPENAI_BASE_URL" in str(ask(engine)[1].notice)


def test_the_key_is_in_no_text_the_settings_give(engine: Engine) -> None:
    assert KEY not in repr(engine.settings)
    assert KEY not in engine.settings.model_dump_json()
