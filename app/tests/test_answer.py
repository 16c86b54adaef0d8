"""Answers: what a model writes is checked sentence by sentence; what cannot be written is quoted."""

import threading
from collections.abc import Callable, Sequence

import pytest
from conftest import OpenEngine
from files import HARBOUR, LIGHTHOUSE
from llmock.pytest_plugin import LLMock

from matinee.answer import UNSUPPORTED_MARK, Answer, Delta, Kind
from matinee.llm import Turn
from matinee.ui import asking
from matinee.workspace import Workspace

KEY = "sk-this-is-a-secret-of-the-test"
QUESTION = "When was the harbour dredged?"
SUPPORTED = "It was dredged in **1874** [1]. A toll on coal paid for it [1]."

type Open = Callable[..., Workspace]


@pytest.fixture
def open_workspace(open_engine: OpenEngine, llmock: LLMock) -> Open:
    """Open a workspace with a document, and models by their providers' names."""

    def open_(*providers: str) -> Workspace:
        variables = {"MATINEE_MODELS": ", ".join(f"{name}/{name}-1" for name in providers)}
        for name in providers:
            variables |= {f"{name.upper()}_API_KEY": KEY, f"{name.upper()}_BASE_URL": llmock.base_url(name)}
        workspace = open_engine(**variables).workspace("somebody")
        workspace.add("harbour.txt", HARBOUR.encode())
        return workspace

    return open_


@pytest.fixture
def workspace(open_workspace: Open) -> Workspace:
    """A workspace with a document and a model."""
    return open_workspace("openai")


def ask(workspace: Workspace, question: str = QUESTION, turns: Sequence[Turn] = ()) -> tuple[str, Answer]:
    """Return what was streamed, and the whole answer."""
    *parts, answer = workspace.ask(question, turns=turns)
    assert isinstance(answer, Answer)
    return "".join(part.text for part in parts if isinstance(part, Delta)), answer


def test_the_model_is_given_the_passages_and_its_answer_is_streamed(
    workspace: Workspace, llmock: LLMock
) -> None:
    llmock.reply(SUPPORTED)
    streamed, answer = ask(workspace)
    assert streamed == answer.text == SUPPORTED
    assert answer.kind is Kind.MODEL
    assert answer.notice is None
    assert answer.writer is not None
    assert answer.writer.model == "openai-1"
    assert answer.writer.input_tokens
    assert HARBOUR in str(llmock.requests[-1].body)
    llmock.assert_resilient()


def test_a_citation_is_opened_at_the_sentence_which_supports_it(workspace: Workspace, llmock: LLMock) -> None:
    llmock.reply("A toll on coal paid for the work [1].")
    _, answer = ask(workspace)
    (citation,) = answer.citations
    assert [workspace.text(citation.passage.document_id, *quote) for quote in citation.quotes] == [
        "The work took nine months and was paid for by a toll on coal."
    ]


def test_citations_come_after_the_whole_sentence_and_only_those_that_hold(
    open_workspace: Open, llmock: LLMock
) -> None:
    workspace = open_workspace("openai")
    workspace.add("lighthouse.txt", LIGHTHOUSE.encode())
    llmock.reply("The harbour [1] was dredged in 1874 [1, 2, 9]. Its lamp was first lit in 1881 [1][2].")
    streamed, answer = ask(workspace, "When was the harbour dredged and when was the lamp first lit?")
    numbers = {citation.passage.document_name: citation.number for citation in answer.citations}
    harbour, lighthouse = numbers["harbour.txt"], numbers["lighthouse.txt"]
    assert answer.text == streamed
    assert answer.text == (
        f"The harbour was dredged in 1874 [{harbour}]. Its lamp was first lit in 1881 [{lighthouse}]."
    )


def test_a_claim_without_support_is_marked(workspace: Workspace, llmock: LLMock) -> None:
    llmock.reply("It was dredged in 1874 [1]. It was dredged again in 1931 [1]. Is that all?")
    streamed, answer = ask(workspace)
    assert answer.text == streamed
    assert answer.text == (
        f"It was dredged in 1874 [1]. It was dredged again in 1931 {UNSUPPORTED_MARK}. Is that all?"
    )


@pytest.mark.parametrize(
    "reply",
    [
        "Everybody knows that it was dredged in 1066.",
        "It was dredged in 1066 [1]. A tax on wine paid for it [1].",
    ],
)
def test_an_answer_of_which_nothing_is_supported_is_refused(
    workspace: Workspace, llmock: LLMock, reply: str
) -> None:
    llmock.reply(reply)
    _, answer = ask(workspace)
    assert answer.kind is Kind.UNSUPPORTED
    assert answer.text == ""
    assert "the documents do not support" in str(answer.notice)


def test_an_answer_without_a_claim_or_source_is_refused(workspace: Workspace, llmock: LLMock) -> None:
    llmock.reply("Hello! Let me know what you need.")
    _, answer = ask(workspace)
    assert answer.kind is Kind.UNSUPPORTED
    assert "without naming a source" in str(answer.notice)


@pytest.mark.parametrize("reply", ["NOT IN THE DOCUMENTS", "**NOT IN THE DOCUMENTS**."])
def test_a_model_that_finds_nothing_refuses_and_shows_nothing_else(
    workspace: Workspace, llmock: LLMock, reply: str
) -> None:
    llmock.reply(reply)
    streamed, answer = ask(workspace)
    assert streamed == ""
    assert answer.kind is Kind.UNSUPPORTED
    assert answer.notice is None
    assert answer.trace is not None
    assert answer.trace.passages == 1


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (
            "It was dredged in 1874 [1]. Its cost is NOT IN THE DOCUMENTS.",
            "It was dredged in 1874 [1]. Its cost is not in the documents.",
        ),
        (
            "It was dredged in 1874 [1].\n\n**NOT IN THE DOCUMENTS**",
            "It was dredged in 1874 [1].\n\n**Not in the documents**",
        ),
        (
            "Its cost is NOT IN THE DOCUMENTS. It was dredged in 1874 [1].",
            "Its cost is not in the documents. It was dredged in 1874 [1].",
        ),
    ],
)
def test_what_is_supported_stands_where_the_model_says_that_the_rest_is_not_there(
    workspace: Workspace, llmock: LLMock, reply: str, shown: str
) -> None:
    llmock.reply(reply)
    streamed, answer = ask(workspace, "When was the harbour dredged, and what did it cost?")
    assert streamed == answer.text == shown
    assert answer.kind is Kind.MODEL
    assert answer.notice is None
    assert [citation.number for citation in answer.citations] == [1]


@pytest.mark.parametrize(
    "reply",
    [
        "NOT IN THE DOCUMENTS. But it was dredged in 1874 [1].",
        "Its cost is NOT IN THE DOCUMENTS.",
        "It was dredged in 1931 [1]. Its cost is NOT IN THE DOCUMENTS.",
    ],
)
def test_a_model_that_finds_nothing_refuses_also_in_a_sentence(
    workspace: Workspace, llmock: LLMock, reply: str
) -> None:
    llmock.reply(reply)
    _, answer = ask(workspace)
    assert (answer.kind, answer.text, answer.notice) == (Kind.UNSUPPORTED, "", None)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [401, 429, 503])
def test_an_error_is_told_in_words_and_the_documents_are_quoted(
    open_workspace: Open, llmock: LLMock, provider: str, status: int
) -> None:
    llmock.fail(status, times=None, message=f"Incorrect API key provided: {KEY}", retry_after=0.1)
    _, answer = ask(open_workspace(provider))
    assert f"status {status}" in str(answer.notice)
    assert answer.kind is Kind.EXTRACTIVE
    assert "1874" in answer.text
    assert KEY not in repr(answer)
    llmock.assert_resilient()


def test_it_is_told_when_another_model_answered(open_workspace: Open, llmock: LLMock) -> None:
    llmock.outage(provider="openai")
    llmock.reply(SUPPORTED, provider="anthropic")
    _, answer = ask(open_workspace("openai", "anthropic"))
    assert answer.kind is Kind.MODEL
    assert answer.text == SUPPORTED
    assert answer.notice == "anthropic/anthropic-1 answered instead of openai/openai-1: status 503."


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("fault", ["truncate", "disconnect", "corrupt"])
def test_what_came_of_a_broken_answer_is_shown_as_cut_off(
    open_workspace: Open, llmock: LLMock, provider: str, fault: str
) -> None:
    llmock.reply(SUPPORTED, times=None)
    getattr(llmock, fault)(after_chunks=11)
    streamed, answer = ask(open_workspace(provider, "groq"))
    assert answer.kind is Kind.MODEL
    assert answer.text.startswith("It was dredged in **1874** [1].")
    assert answer.text.endswith(" …")
    assert SUPPORTED.startswith(streamed)
    assert "What came until then is shown" in str(answer.notice)
    assert len(llmock.requests) == 1


def test_an_answer_which_breaks_before_anything_is_supported_becomes_an_extract(
    workspace: Workspace, llmock: LLMock
) -> None:
    llmock.reply("Well, let us see what the passages have to say about that.")
    llmock.truncate(after_chunks=4)
    _, answer = ask(workspace)
    assert answer.kind is Kind.EXTRACTIVE
    assert "broke off" in str(answer.notice)


def test_stopping_the_answer_stops_the_model(workspace: Workspace, llmock: LLMock) -> None:
    llmock.reply("It was dredged in 1874 [1]. " * 50)
    llmock.pace(50)
    parts = workspace.ask(QUESTION)
    while not isinstance(next(parts), Delta):
        pass
    parts.close()
    assert not llmock.last_request.completed


def test_a_stopped_answer_keeps_what_was_checked(workspace: Workspace, llmock: LLMock) -> None:
    llmock.reply(SUPPORTED + " And" + " so on" * 200)
    llmock.pace(50)
    stop, streamed, last = threading.Event(), "", None
    for last in workspace.ask(QUESTION, stop=stop):
        streamed += last.text if isinstance(last, Delta) else ""
        if "toll" in streamed:
            stop.set()
    assert isinstance(last, Answer)
    assert last.kind is Kind.MODEL
    assert last.text.startswith("It was dredged in **1874** [1]. A toll")
    assert last.text.endswith(" …")
    assert [citation.number for citation in last.citations] == [1]
    assert last.notice == "Stopped before the answer was whole."
    assert last.writer is not None
    assert last.trace is not None
    assert not llmock.last_request.completed


def test_what_the_stop_button_stores_keeps_its_citations(workspace: Workspace, llmock: LLMock) -> None:
    llmock.reply(SUPPORTED + " And" + " so on" * 200)
    llmock.pace(50)
    conversation = workspace.conversations.create(QUESTION)
    asking.begin(workspace, conversation, QUESTION, [], asking.Where())
    (running,) = asking.running().values()
    for _ in running.watch():
        if "toll" in running.text:
            running.stop()
    stored = workspace.conversations.get(conversation)
    assert stored is not None
    (message,) = stored.messages
    assert message.answer.text.startswith("It was dredged in **1874** [1].")
    assert message.answer.notice == "Stopped before the answer was whole."
    assert [citation.number for citation in message.answer.citations] == [1]


def test_a_follow_up_is_rewritten_by_the_model_and_searched_for(open_workspace: Open, llmock: LLMock) -> None:
    workspace = open_workspace("openai")
    workspace.add("lighthouse.txt", LIGHTHOUSE.encode())
    turns = [Turn("When was the lamp of the lighthouse first lit?", "It was first lit in 1881 [1].")]
    llmock.reply("When was the lamp of the lighthouse replaced?")
    llmock.reply("The lamp was replaced by an electric one in 1932 [1].")
    _, answer = ask(workspace, "And when was it replaced?", turns)
    assert answer.question == "When was the lamp of the lighthouse replaced?"
    assert [citation.passage.document_name for citation in answer.citations] == ["lighthouse.txt"]


@pytest.mark.parametrize("question", ["And when was it replaced?", "Who else?", "What did it burn?"])
def test_a_follow_up_finds_its_passage_without_a_model(engine_workspace: Workspace, question: str) -> None:
    turns = [Turn("When was the lamp of the lighthouse first lit?", "Its lamp was first lit in 1881.")]
    _, answer = ask(engine_workspace, question, turns)
    assert "lighthouse" in answer.question
    assert answer.citations[0].passage.document_name == "lighthouse.txt"


@pytest.mark.parametrize(
    "question", ["Who paid for dredging the harbour of Lindow?", "How deep is the channel at low tide?"]
)
def test_a_question_that_stands_alone_stays_as_it_is(engine_workspace: Workspace, question: str) -> None:
    turns = [Turn("When was the lamp of the lighthouse first lit?", "Its lamp was first lit in 1881.")]
    assert ask(engine_workspace, question, turns)[1].question == question


def test_a_follow_up_survives_a_model_that_fails(workspace: Workspace, llmock: LLMock) -> None:
    llmock.outage()
    turns = [Turn("When was the lamp of the lighthouse first lit?", "Its lamp was first lit in 1881.")]
    assert "lighthouse" in ask(workspace, "And when was it replaced?", turns)[1].question


@pytest.fixture
def engine_workspace(open_engine: OpenEngine) -> Workspace:
    """A workspace with two documents and no model."""
    workspace = open_engine().workspace("somebody")
    workspace.add("harbour.txt", HARBOUR.encode())
    workspace.add("lighthouse.txt", LIGHTHOUSE.encode())
    return workspace


def test_an_extract_is_whole_sentences_without_debris(engine_workspace: Workspace) -> None:
    page = """3 Tides

Tide gauges
The tide gauge of Lindow was built in 1902 and is read every hour (see Dee et al.

Table 4: Heights read every hour from the tide gauge of Lindow, in metres above the datum.

1.2 3.4 5.6 7.8 the tide gauge of Lindow 9.1 2.3 4.5 6.7.

The tide gauge of Lindow is read every hour by the harbour master.

[12] Dee, A. and Roe, B. 1910. How often the tide gauge of Lindow is read. In Proceedings, pages 1-9.
"""
    engine_workspace.add("tides.txt", page.encode())
    _, answer = ask(engine_workspace, "How often is the tide gauge of Lindow read?")
    assert answer.text == "The tide gauge of Lindow is read every hour by the harbour master. [1]"


def test_numbers_in_brackets_of_a_document_are_no_citations_of_its_extract(
    engine_workspace: Workspace,
) -> None:
    gauges = b"The tide gauge of Lindow is read every hour, as Dee et al. [2] and others [1, 3] advise."
    engine_workspace.add("tides.txt", gauges)
    _, answer = ask(engine_workspace, "How often is the tide gauge of Lindow read?")
    assert answer.text.startswith(
        "The tide gauge of Lindow is read every hour, as Dee et al. ［2］ and others ［1, 3］ advise. [1]"
    )


def test_a_row_of_a_table_is_quoted_as_a_row(engine_workspace: Workspace) -> None:
    table = """# Berths

| Berth | Depth | Crane |
|---|---|---|
| North quay | 6 m | yes |
| Coal pier | 4 m | no |
"""
    engine_workspace.add("berths.md", table.encode())
    _, answer = ask(engine_workspace, "What is the depth of the berth at the coal pier?")
    assert answer.text.startswith("Berth: Coal pier; Depth: 4 m; Crane: no")
    (quote,) = answer.citations[0].quotes
    text = engine_workspace.text(answer.citations[0].passage.document_id, *quote)
    assert text == "| Coal pier | 4 m | no |"


@pytest.mark.parametrize(
    "question", ["What is order A-1007?", "A-1007", '"A-1007"', "Tell me of a-1007, please"]
)
def test_the_row_which_an_identifier_names_is_quoted_and_no_other(
    engine_workspace: Workspace, question: str
) -> None:
    rows = [f"A-{1000 + number},{number * 3} crates of pears,Lindow" for number in range(40)]
    engine_workspace.add("orders.csv", "\n".join(["Order,Goods,Port", *rows]).encode())
    _, answer = ask(engine_workspace, question)
    assert answer.kind is Kind.EXTRACTIVE
    assert "Order: A-1007; Goods: 21 crates of pears" in answer.text
    assert answer.text.count("Order: ") == 1


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Where do I get my laptop?", "You get your laptop from Marta"),
        ("And what about the Sales team?", "Team: Sales; Mentor: Adrian"),
    ],
)
def test_a_question_in_a_conversation_is_answered_for_what_it_asks_now(
    engine_workspace: Workspace, question: str, expected: str
) -> None:
    engine_workspace.add("teams.csv", b"Team,Mentor\nDesign,Clara\nSales,Adrian\nSupport,Olive\n")
    engine_workspace.add(
        "office.txt", b"You get your laptop from Marta in room 3. The kitchen is on floor 2."
    )
    turns = [Turn("Who is the mentor of the Design team?", "Team: Design; Mentor: Clara [1]")]
    *_, answer = engine_workspace.ask(question, turns=turns)
    assert isinstance(answer, Answer)
    assert answer.text.startswith(expected)


def test_words_alone_choose_what_is_quoted_while_models_for_answers_and_vectors_are_down(
    open_engine: OpenEngine, llmock: LLMock
) -> None:
    variables = {"MATINEE_EMBEDDING": "openai/text-embedding-3-small", "OPENAI_API_KEY": KEY}
    workspace = open_engine(**variables, OPENAI_BASE_URL=llmock.base_url()).workspace("somebody")
    workspace.add("lighthouse.txt", LIGHTHOUSE.encode())
    workspace.add("harbour.txt", HARBOUR.encode())
    llmock.fail(401, times=None)
    _, answer = ask(workspace)
    assert answer.kind is Kind.EXTRACTIVE
    assert answer.text.startswith("The harbour of Lindow was dredged in 1874")
    assert "status 401" in str(answer.notice)
    assert ask(workspace, "Which saint is the church by the harbour named after?")[1].text == ""


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When was the harbour of Hartlepool dredged?", Kind.UNSUPPORTED),
        ("When was the harbour of Lindow dredged?", Kind.EXTRACTIVE),
        ("When Was The Harbour Of Hartlepool Dredged?", Kind.EXTRACTIVE),
        ("Tell me what I've asked. When was the harbour dredged?", Kind.EXTRACTIVE),
        ("When was the harbour dredged, in CE?", Kind.EXTRACTIVE),
    ],
)
def test_a_question_of_names_the_documents_do_not_have_is_refused(
    engine_workspace: Workspace, question: str, kind: Kind
) -> None:
    assert ask(engine_workspace, question)[1].kind is kind
