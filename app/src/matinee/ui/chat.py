"""The middle: ask, read the answer, open the passages it cites."""

import html
import re
from itertools import pairwise

import streamlit as st

from matinee.answer import Answer, Citation, Kind
from matinee.engine import SAMPLE_NAME, Engine
from matinee.stores.truth import StoredDocument
from matinee.ui import library
from matinee.ui.text import count, escape_markdown

EXAMPLES = (
    "What does a stopped demo still cost?",
    "Why does the address stay the same after a stop?",
    "What is the CI user allowed to do?",
)

_CITED = re.compile(r"\\?\[(\d+)\\?\]")  # as written, or as escape_markdown() writes it


def draw(engine: Engine) -> None:
    """Draw the conversation and take the next question."""
    history: list[tuple[str, Answer]] = st.session_state.setdefault("history", [])
    documents = engine.documents()
    question = st.chat_input("Ask about your documents", key="question", disabled=not documents)
    if not history and not question:
        question = _draw_welcome(engine, documents)
    for asked, answer in history:
        _draw_question(asked)
        with st.chat_message("assistant", avatar=":material/theater_comedy:"):
            _draw_answer(engine, answer)
    if question:
        _draw_question(question)
        with st.chat_message("assistant", avatar=":material/theater_comedy:"):
            history.append((question, _ask(engine, question)))
        st.rerun()


def _draw_welcome(engine: Engine, documents: list[StoredDocument]) -> str | None:
    """Say what to do; returns the example question that was clicked, if one was."""
    st.markdown("# Ask your documents")
    st.markdown(
        "Every answer names the passages it comes from, and each of them opens below it. "
        "What your documents do not say is not guessed."
    )
    if not documents:
        library.draw_sample_button(engine)
        st.caption("Or add your own PDF, Markdown or text files in the side panel. They stay on this server.")
        return None
    if not any(document.name == SAMPLE_NAME for document in documents):
        return None
    st.caption("For example")
    return next((example for example in EXAMPLES if st.button(example, icon=":material/chat_bubble:")), None)


def _draw_question(question: str) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.markdown(escape_markdown(question))


def _ask(engine: Engine, question: str) -> Answer:
    """Show the answer as it comes and return the whole of it."""
    place = st.empty()
    place.markdown(":gray[Searching the documents…]")
    text = ""
    for part in engine.ask(question):
        if isinstance(part, Answer):
            place.empty()
            return part
        text += part.text
        place.markdown(_safe(text) + " ▌")
    raise RuntimeError("an answer never ended")


def _draw_answer(engine: Engine, answer: Answer) -> None:
    if answer.notice:
        st.warning(escape_markdown(answer.notice), icon=":material/warning:")
    if answer.kind is Kind.UNSUPPORTED:
        _draw_refusal(engine, answer)
        return
    if answer.kind is Kind.EXTRACTIVE:
        reason = "the model did not answer" if engine.model_name else "no model is configured"
        st.caption(f"extractive: {reason}. Quoted word for word from the documents.")
    text = escape_markdown(answer.text) if answer.kind is Kind.EXTRACTIVE else _safe(answer.text)
    st.markdown(_cited(text, {citation.number for citation in answer.citations}))
    for citation in answer.citations:
        _draw_citation(engine, citation, f":primary-badge[{citation.number}]")


def _draw_refusal(engine: Engine, answer: Answer) -> None:
    documents = engine.documents()
    passages = sum(document.passages for document in documents)
    st.markdown("**Not in these documents.**")
    st.markdown(
        f"Searched {count(passages, 'passage')} of {count(len(documents), 'document')}, by meaning and by "
        "words, and found nothing that answers this. Try other words, or add a document that covers it."
    )
    for citation in answer.citations:
        _draw_citation(engine, citation, "Nearest passage:")


def _draw_citation(engine: Engine, citation: Citation, label: str) -> None:
    passage = citation.passage
    place = ""
    if passage.page:
        place = f", page {passage.page}"
        if passage.last_page and passage.last_page > passage.page:
            place = f", pages {passage.page}–{passage.last_page}"
    with st.expander(f"{label} {escape_markdown(passage.document_name)}{place}"):
        extract = engine.around(citation)
        if extract.text:
            st.html(_highlighted(extract.text, extract.offset, citation))
        else:
            st.markdown("This document has been removed since.")


def _highlighted(text: str, offset: int, citation: Citation) -> str:
    """Return the text as HTML, with the passage marked in it and in that what the answer quotes."""
    passage = citation.passage
    edges = {passage.start, passage.end, *(edge for quote in citation.quotes for edge in quote)}
    cuts = sorted({0, len(text), *(min(max(edge - offset, 0), len(text)) for edge in edges)})
    parts = []
    for start, end in pairwise(cuts):
        piece = html.escape(text[start:end])
        if any(first <= start + offset < last for first, last in citation.quotes):
            piece = f'<mark class="quote">{piece}</mark>'
        elif passage.start <= start + offset < passage.end:
            piece = f"<mark>{piece}</mark>"
        parts.append(piece)
    shown = re.sub(r"\n{3,}", "\n\n", "".join(parts))
    return f'<p class="matinee-passage">…{shown}…</p>'


def _safe(text: str) -> str:
    """Keep a model's Markdown but no image, which could carry words to another server, and no formula."""
    return text.replace("![", "!\\[").replace("$", "\\$")


def _cited(text: str, numbers: set[int]) -> str:
    """Make the numbers of citations stand out; a quoted text may have brackets of its own."""
    return _CITED.sub(
        lambda match: f":primary-badge[{match[1]}]" if int(match[1]) in numbers else match[0], text
    )
