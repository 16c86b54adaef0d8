"""Show an answer: its text with links to what it cites, the passages, who wrote it and how it was found."""

import html
import re

import streamlit as st

from matinee.answer import UNSUPPORTED_MARK, Answer, Citation, Kind
from matinee.cited import CODE, CODE_BLOCK
from matinee.llm import Writer
from matinee.retrieval import Candidate, Trace
from matinee.ui import passage
from matinee.ui.text import count, escape_markdown
from matinee.workspace import Workspace

# as written, or as escape_markdown() writes it
_CITED = re.compile(rf"{CODE_BLOCK}|{CODE}|\\?\[(?P<number>\d+)\\?\]")
_BADGE = ":orange-badge[no source]"


def draw(workspace: Workspace, key: int, answer: Answer) -> None:
    """Draw an answer; the key is unique on the page."""
    if answer.notice:
        st.warning(escape_markdown(answer.notice), icon=":material/warning:")
    if answer.kind is Kind.UNSUPPORTED:
        _draw_refusal(answer)
    elif answer.kind is Kind.EXTRACTIVE:
        reason = "the language model did not answer" if answer.notice else "no language model is set up"
        st.caption(f"Quoted from the documents: {reason}.")
    if answer.text:
        if answer.kind is Kind.EXTRACTIVE:
            text = escape_markdown(answer.text).replace("\n", "  \n")
        else:
            text = badged(answer.text)
        st.markdown(_linked(text, answer.citations))
    if answer.kind is Kind.MODEL and UNSUPPORTED_MARK in answer.text:
        st.caption(f"{_BADGE} marks a sentence which no passage supports. Do not rely on it.")
    for citation in answer.citations:
        nearest = "Nearest passage:" if answer.kind is Kind.UNSUPPORTED else f":red-badge[{citation.number}]"
        _draw_citation(workspace, f"citation-{key}-{citation.number}", nearest, citation)
    if answer.writer:
        st.caption(_written_by(answer.writer))


@st.fragment
def draw_trace(key: int, trace: Trace) -> None:
    """Draw how an answer was found."""
    with st.expander("How this was found", key=f"trace-{key}", type="compact", on_change="rerun") as expander:
        if expander.open:
            st.html(_trace_html(trace))


def badged(text: str) -> str:
    """Return a model's Markdown, which is safe, with a badge after each claim no passage supports."""
    return text.replace(UNSUPPORTED_MARK, f" {_BADGE}")


def _linked(text: str, citations: tuple[Citation, ...]) -> str:
    """Make the numbers of citations links to the passages; a quoted text may have brackets of its own."""
    by_number = {citation.number: citation for citation in citations}

    def link(match: re.Match[str]) -> str:
        citation = by_number.get(int(match["number"] or 0))
        if citation is None:
            return match[0]
        title = re.sub(r'["\\\n]', "", passage.source(citation.passage))
        return f'[\\[{match["number"]}\\]]({passage.address(citation)} "{escape_markdown(title)}")'

    return _CITED.sub(link, text)


def _draw_refusal(answer: Answer) -> None:
    st.markdown("**Not in these documents.**")
    trace = answer.trace
    searched = ""
    if trace:
        searched = (
            f"Searched {count(trace.passages, 'passage')} of {count(trace.documents, 'document')} by meaning "
            f"and by words for “{escape_markdown(trace.searched_for)}”, and found nothing that answers this. "
        )
    st.markdown(f"{searched}Try other words, search in more documents, or add one that covers it.")


@st.fragment
def _draw_citation(workspace: Workspace, key: str, label: str, citation: Citation) -> None:
    title = f"{label} {escape_markdown(passage.source(citation.passage))}"
    with st.expander(title, key=key, on_change="rerun") as expander:
        if expander.open:  # pages of PDFs are drawn when somebody looks
            passage.draw(workspace, citation)


def _written_by(writer: Writer) -> str:
    parts = [f"{writer.provider} {writer.model}"]
    if writer.input_tokens is not None and writer.output_tokens is not None:
        parts.append(f"{writer.input_tokens:,} + {writer.output_tokens:,} tokens")
    if writer.price_usd is not None:
        parts.append(f"{writer.price_usd:.4f} USD")
    return escape_markdown(" · ".join(parts))


def _trace_html(trace: Trace) -> str:
    searched = count(trace.passages, "passage")
    steps = "".join(
        f"<li>{html.escape(step.name)}: {step.seconds * 1000:,.0f} ms"
        f"{', ' if step.detail else ''}{html.escape(step.detail)}</li>"
        for step in trace.steps
    )
    rows = "".join(map(_candidate_html, trace.candidates))
    return f"""
<div class="matinee-trace">
<p>Searched for “{html.escape(trace.searched_for)}” in {searched} of {count(trace.documents, "document")}.</p>
<ol>{steps}</ol>
<div class="matinee-scroll" tabindex="0" role="region" aria-label="Passages considered">
<table>
<thead><tr><th>Passage</th><th>By meaning</th><th>By words</th><th>Together</th><th>Reranked</th>
<th>Became</th></tr></thead>
<tbody>{rows}</tbody>
</table>
</div>
</div>"""


def _candidate_html(candidate: Candidate) -> str:
    page = f", {candidate.page}" if candidate.page else ""
    scores = (candidate.dense, candidate.keyword, candidate.fused, candidate.reranked)
    cells = "".join(f"<td>{'–' if score is None else format(score, '.2f')}</td>" for score in scores)
    return (
        f"<tr><td><b>{html.escape(candidate.document_name)}{page}</b><br>{html.escape(candidate.excerpt)}</td>"
        f"{cells}<td>{html.escape(candidate.fate)}</td></tr>"
    )
