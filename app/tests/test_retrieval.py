"""What is found for a question, and what the trace says of it."""

import random
from collections.abc import Sequence

import pytest
from files import HARBOUR, LIGHTHOUSE

from matinee import passages
from matinee.documents import Document, Kind, Span
from matinee.engine import Engine
from matinee.passages import AROUND, JOINED
from matinee.retrieval import Found, fuse
from matinee.stores import keyword
from matinee.stores.truth import DEFAULT_COLLECTION, Scope

EVERYTHING = Scope((DEFAULT_COLLECTION,))
TOPICS = (
    "The {} pump lifts water from the dock to the tower, and its valve is closed by hand every evening.",
    "A report on the {} crew tells how long they rowed, what they ate and which songs they sang at night.",
    "Grain for the {} mill comes by barge, is weighed on the quay and carried up in sacks of fifty kilos.",
    "The {} school has two rooms; the children learn to read, to reckon and to mend the nets.",
)


def ask(engine: Engine, question: str, scope: Scope = EVERYTHING, limit: int = 8) -> Found:
    return engine.retriever.search(question, scope, limit)


def names(found: Found) -> list[str]:
    return [hit.passage.document_name for hit in found.hits]


def fill(engine: Engine, count: int, extra: Sequence[str] = ()) -> None:
    """Add many short documents, and some with a sentence of their own."""
    chance = random.Random(1)  # noqa: S311
    for number in range(count):
        words = " ".join(
            chance.choices(["northern", "southern", "upper", "lower", "old", "new", "town"], k=2)
        )
        engine.add(f"note-{number}.txt", f"{TOPICS[number % 4].format(words)} Volume {number}.".encode())
    for number, text in enumerate(extra):
        engine.add(f"extra-{number}.txt", text.encode())


def test_a_question_in_other_words_finds_its_passage(engine: Engine) -> None:
    fill(engine, 12, [HARBOUR, LIGHTHOUSE])
    assert names(ask(engine, "In what year did the beacon's light become electrical?"))[0] == "extra-1.txt"


def test_an_inflected_word_finds_its_passage(engine: Engine) -> None:
    fill(engine, 12, [HARBOUR])
    assert names(ask(engine, "dredging harbours"))[0] == "extra-0.txt"


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Which pump, valve and water tower say ERR-4711?", "Call the office about ERR-4711 before noon."),
        ("Do the crew row, eat and sing “in the long grass”?", "Cats sleep in the\nlong grass."),
        ("Does the pump lift water from the dock at 350 kPa?", "It bursts at 350 kPa and no sooner."),
        ("Do the children of the school read about zymurgy?", "Zymurgy is taught on Mondays."),
        ("Does the barge carry grain in sacks of SKU/77.b?", "Send SKU/77.b back to Lindow."),
    ],
)
def test_what_is_named_exactly_is_among_the_hits(engine: Engine, question: str, text: str) -> None:
    fill(engine, 24, [text])
    found = ask(engine, question, limit=3)
    assert len(found.hits) == 3
    assert "extra-0.txt" in names(found)


@pytest.mark.parametrize(
    ("term", "looked_at", "said"),
    [
        ("ERR-4711", 1000, True),
        ("ERR-4711", 20, True),
        ("zymurgy", 1000, True),
        ("zymurgy", 20, False),  # a common word, which is not rare for standing in few passages of a scope
    ],
)
def test_what_other_collections_hold_often_is_still_named_exactly(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, term: str, looked_at: int, said: bool
) -> None:
    monkeypatch.setattr(keyword, "LOOKED_AT", looked_at)
    fill(engine, 12, [f"Call the office about {term} before noon."])
    logs = engine.truth.add_collection("logs", "somebody else")
    for number in range(60):
        engine.add(f"log-{number}.txt", f"{term} in line {number}.".encode(), logs)
    question = f"Which pump, valve and water tower say {term}?"

    def is_named(scope: Scope) -> bool:
        return term in {item.term for item in engine.store.words.exact(question, scope)}

    documents = {item.name: item.id for item in engine.truth.documents("somebody else")}
    both = (DEFAULT_COLLECTION, logs)
    assert is_named(EVERYTHING) is said
    assert is_named(Scope(both, (documents["extra-0.txt"], documents["note-1.txt"]))) is said
    assert not is_named(Scope((logs,)))
    assert not is_named(Scope(both, (documents["note-1.txt"],)))
    if said:
        assert "extra-0.txt" in names(ask(engine, question, limit=3))


def test_a_quoted_phrase_is_preferred_word_for_word(engine: Engine) -> None:
    fill(engine, 24, ["The pumps lifted waters.", "He said: the pump lifts waters."])
    assert "extra-0.txt" in names(ask(engine, 'Who wrote "pumps lifted waters"?', limit=3))


def test_words_that_all_passages_have_still_find_some(engine: Engine) -> None:
    fill(engine, 12)
    for question in ("the", "the and of", "Is it the?", "THE"):
        assert ask(engine, question).hits


@pytest.mark.parametrize(
    "question", ["???", "", '"', '"" OR *', "NEAR(a b)", "_", "a\x00b", "“\x00”", "text:lamp AND", "—"]
)
def test_no_question_breaks_the_search(engine: Engine, question: str) -> None:
    fill(engine, 4)
    assert len(ask(engine, question).hits) <= 8


def test_common_words_rank_what_rare_words_bring_in(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(engine, 24, ["The mill has a rudder.", "The rudder of the barge is as old as the barge."])
    question = "barge rudder"
    whole = engine.store.words.matching(question, 30, EVERYTHING)
    monkeypatch.setattr(keyword, "BROUGHT", 2)
    found = engine.store.words.matching(question, 30, EVERYTHING)
    assert len(found) == 2 < len(whole)
    assert list(found) == list(whole)[:2]
    assert list(found.values()) == pytest.approx(list(whole.values())[:2])


@pytest.mark.parametrize("name", ["alba", "berta"])
@pytest.mark.parametrize("question", ["Who oils {}'s engine?", "Who oils the engine, says {}.txt?"])
def test_the_document_that_the_question_names_comes_first(engine: Engine, question: str, name: str) -> None:
    fill(engine, 12)
    engine.add("alba.txt", b"The engine is oiled each morning by the mate.")
    engine.add("berta.txt", b"The engine is oiled each evening by the cook.")
    engine.add("a.txt", b"A lamp is filled by the cook.")
    found = ask(engine, question.format(name))
    assert names(found)[0] == f"{name}.txt"
    said = " ".join(step.detail for step in found.trace.steps if step.name == "fusion")
    assert f"candidates, first those of {name}.txt" in said
    assert all(0 <= hit.score <= 1 for hit in found.hits)


def test_only_what_the_scope_holds_is_found(engine: Engine) -> None:
    fill(engine, 12, [LIGHTHOUSE])
    documents = {item.name: item.id for item in engine.truth.documents("visitor")}
    scope = Scope((DEFAULT_COLLECTION,), (documents["note-1.txt"], documents["note-5.txt"]))
    found = ask(engine, "When was the “lamp” of the lighthouse replaced?", scope)
    assert set(names(found)) <= {"note-1.txt", "note-5.txt"}
    assert (found.trace.documents, found.trace.passages) == (2, 2)
    assert ask(engine, "lighthouse", Scope(())).hits == ()


def test_the_same_text_in_several_documents_is_one_hit(engine: Engine) -> None:
    fill(engine, 8, [LIGHTHOUSE, LIGHTHOUSE + " ", f"{LIGHTHOUSE}\n"])
    found = ask(engine, "When was the lamp of the lighthouse replaced?")
    assert sum(name.startswith("extra") for name in names(found)) == 1
    fates = [item.fate for item in found.trace.candidates if item.document_name.startswith("extra")]
    assert sorted(fates) == ["near-duplicate of 1", "near-duplicate of 1", "used as 1"]


def test_texts_with_other_numbers_do_not_say_the_same(engine: Engine) -> None:
    texts = [f"{LIGHTHOUSE} {HARBOUR} The boiler may be run at {bar} bar." for bar in (12, 14, 16)]
    fill(engine, 4, texts)
    assert {"extra-0.txt", "extra-1.txt", "extra-2.txt"} <= set(
        names(ask(engine, "boiler of the lighthouse"))
    )


def long_report(engine: Engine) -> str:
    chance = random.Random(2)  # noqa: S311
    sentences = [
        f"In the year {1700 + number} the {chance.choice(['mill', 'ferry', 'quay', 'tower'])} of Lindow was "
        f"{chance.choice(['painted', 'sold', 'burned', 'mended'])} by order of the council in {month}."
        for number, month in enumerate(["May", "June", "March", "winter"] * 60)
    ]
    text = " ".join(sentences)
    engine.add("report.txt", text.encode())
    return text


def test_neighbours_become_one_hit_of_a_bounded_length(engine: Engine) -> None:
    text = long_report(engine)
    found = ask(engine, "What happened to the ferry in the year 1760 and 1765?")
    assert any(item.fate.startswith("joined to") for item in found.trace.candidates)
    for hit in found.hits:
        assert len(hit.passage.text) <= JOINED + 600
        assert text[hit.passage.start : hit.passage.end] == hit.passage.text
    ends = sorted((hit.passage.start, hit.passage.end) for hit in found.hits)
    assert len(ends) == len(set(ends))


def add_cut(engine: Engine, document: Document, start: str, end: str) -> None:
    """Store a document with one passage, from one of its words to another."""
    span = Span(document.text.index(start), document.text.index(end) + len(end), None, None)
    vectors = engine.embedder.embed([document.text[span.start : span.end]])
    engine.store.add(DEFAULT_COLLECTION, document, document.name, b"", [span], vectors)


@pytest.mark.parametrize(
    ("kind", "text", "start", "end", "whole"),
    [
        (Kind.TEXT, f"{HARBOUR} {LIGHTHOUSE} The end.", "lamp", "1932", LIGHTHOUSE.partition(". ")[2]),
        (Kind.TEXT, f"Ships\n\nThe lamp\nburns oil\n\n{HARBOUR}", "lamp", "burns", "The lamp\nburns oil"),
        (Kind.MARKDOWN, "- the pier\n- the lamp of 1881\n- a bell", "lamp", "of", "- the lamp of 1881\n"),
        (Kind.CODE, "def lit():\n    return lamp.on\n\nlit()", "lamp", "on", "    return lamp.on"),
        (Kind.TEXT, "The lamp " + "burns " * 200 + "on.", "burns", "burns", "The lamp burns"),
    ],
)
def test_a_hit_is_widened_to_what_its_ends_belong_to(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    text: str,
    start: str,
    end: str,
    whole: str,
) -> None:
    monkeypatch.setattr(passages, "AROUND", 0)
    add_cut(engine, Document("a.txt", text, kind), start, end)
    [hit] = ask(engine, "lamp").hits
    assert hit.passage.text.rstrip() == whole.rstrip()
    assert text[hit.passage.start : hit.passage.end] == hit.passage.text


def test_a_hit_is_read_with_what_is_around_it_on_its_page(engine: Engine) -> None:
    pages = [f"{name} of Lindow are mended each spring. " * 40 for name in ("Boats", "Nets", "Ropes")]
    text = "".join(pages)
    starts = (0, len(pages[0]), len(pages[0]) + len(pages[1]))
    for first, last in ((starts[1] + 50, starts[1] + 88), (starts[1] + 800, starts[1] + 838)):
        document = Document(f"from-{first}.pdf", text, Kind.PDF, page_starts=starts)
        vectors = engine.embedder.embed([text[first:last]])
        engine.store.add(DEFAULT_COLLECTION, document, document.name, b"", [Span(first, last, 2, 2)], vectors)
    for hit in ask(engine, "Nets").hits:
        passage = hit.passage
        assert starts[1] <= passage.start
        assert passage.end <= starts[2]
        assert (passage.page, passage.last_page) == (2, 2)
        assert len(passage.text) >= AROUND
        assert passage.text == text[passage.start : passage.end]


def test_a_widened_hit_is_cited_with_the_pages_it_is_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages, "AROUND", 0)
    text = "Fees are low. The officer who signs papers\nmust live in Lindow. Nothing else is asked."
    document = Document("customs.pdf", text, Kind.PDF, page_starts=(0, text.index("must")))
    add_cut(engine, document, "officer", "signs")
    [hit] = ask(engine, "officer").hits
    assert hit.passage.text == "The officer who signs papers\nmust live in Lindow."
    assert (hit.passage.page, hit.passage.last_page) == (1, 2)


def test_the_trace_tells_how_the_hits_were_found(engine: Engine) -> None:
    fill(engine, 12, [LIGHTHOUSE])
    found = ask(engine, "When was the lamp of the lighthouse replaced?", limit=4)
    trace = found.trace
    assert trace.searched_for == "When was the lamp of the lighthouse replaced?"
    assert (trace.documents, trace.passages) == (13, 13)
    assert [step.name for step in trace.steps] == [
        "question to vector",
        "by meaning",
        "by words",
        "exact terms",
        "fusion",
        "choice",
    ]
    assert all(step.seconds >= 0 and step.detail for step in trace.steps)
    fates = {item.passage_id: item.fate for item in trace.candidates}
    assert [fates[hit.passage.id] for hit in found.hits] == [f"used as {number}" for number in range(1, 5)]
    assert "not among the best" in fates.values()
    best = trace.candidates[0]
    assert best.document_name == "extra-0.txt"
    assert best.dense == pytest.approx(found.hits[0].similarity)
    assert best.keyword
    assert LIGHTHOUSE.startswith(best.excerpt)


def test_both_rankings_have_equal_weight() -> None:
    fused = fuse({1: 0.8, 2: 0.4, 3: 0.6}, {2: 9.0, 3: 4.5})
    assert fused == pytest.approx({3: 0.5, 1: 0.5, 2: 0.5})
    assert fuse({}, {}) == {}
    assert fuse({1: 0.5}, {}) == {1: 0.5}
