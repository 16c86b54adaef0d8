"""The left side: add documents, see what is there, remove one."""

import logging
from collections.abc import Callable
from typing import Literal

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from matinee.documents import SUFFIXES
from matinee.engine import SAMPLE_NAME, Added, Engine, Progress
from matinee.errors import MatineeError
from matinee.stores.truth import StoredDocument
from matinee.ui.text import count, escape_markdown, file_size

logger = logging.getLogger(__name__)

type Outcome = tuple[Literal["added", "already there", "failed"], str]


def draw(engine: Engine) -> None:
    """Draw the documents and what can be done with them."""
    st.markdown("## :primary[:material/theater_comedy:] Matinee")
    _draw_upload(engine)
    _draw_outcomes()
    documents = engine.documents()
    st.markdown(f"**{count(len(documents), 'document')}**" if documents else "**No documents yet**")
    for document in documents:
        _draw_document(engine, document)
    model = engine.model_name
    st.caption(
        f"Answers by {escape_markdown(model)}." if model else "Answers are quotes: no model is configured."
    )


def draw_sample_button(engine: Engine) -> None:
    """Offer the document which comes with the app."""
    if st.button("Try the sample", icon=":material/auto_stories:", type="primary"):
        _ingest([(SAMPLE_NAME, engine.add_sample)])
        st.rerun()


def _draw_upload(engine: Engine) -> None:
    # a new key after each upload empties the box: what was added stands in the list below it
    generation = st.session_state.setdefault("uploads", 0)
    files: list[UploadedFile] = st.file_uploader(
        "Add documents",
        type=[suffix.removeprefix(".") for suffix in SUFFIXES],
        accept_multiple_files=True,
        key=f"upload-{generation}",
        help=f"PDF, Markdown or plain text, up to {engine.settings.max_upload_mb} MB each.",
    )
    if not files:
        return

    def adder(file: UploadedFile) -> Callable[[Progress], Added]:
        return lambda progress: engine.add(file.name, file.getvalue(), progress)

    _ingest([(file.name, adder(file)) for file in files])
    st.session_state["uploads"] = generation + 1
    st.rerun()


def _ingest(files: list[tuple[str, Callable[[Progress], Added]]]) -> None:
    """Add files one after another and note what became of each; one that fails does not stop the rest."""
    outcomes: list[Outcome] = []
    for number, (name, add) in enumerate(files, 1):
        of = f" ({number} of {len(files)})" if len(files) > 1 else ""
        bar = st.progress(0.0, f"{escape_markdown(name)}{of}")

        def show(stage: str, share: float, name: str = name, of: str = of) -> None:
            bar.progress(share, f"{escape_markdown(name)}{of}: {stage.lower()}")  # noqa: B023 (called before the next)

        try:
            added = add(show)
        except MatineeError as error:
            outcomes.append(("failed", str(error)))
        except Exception:  # a file nobody thought of: the others still get their turn
            logger.exception("A file could not be added.")
            outcomes.append(("failed", f"{name} could not be added: an error in Matinee, see its log."))
        else:
            outcomes.append(("already there" if added.already_there else "added", added.name))
        bar.empty()
    st.session_state["outcomes"] = outcomes


def _draw_outcomes() -> None:
    outcomes: list[Outcome] = st.session_state.get("outcomes", [])
    added = [name for outcome, name in outcomes if outcome == "added"]
    if added:
        st.success(f"Added {escape_markdown(', '.join(added))}.", icon=":material/check_circle:")
    for outcome, text in outcomes:
        if outcome == "already there":
            st.info(f"{escape_markdown(text)} is here already; nothing was added.", icon=":material/info:")
        elif outcome == "failed":
            st.error(escape_markdown(text), icon=":material/error:")


def _draw_document(engine: Engine, document: StoredDocument) -> None:
    name, button = st.columns([3, 1], vertical_alignment="center")
    pages = f"{count(document.pages, 'page')} · " if document.pages else ""
    name.markdown(
        f"{escape_markdown(document.name)}  \n"
        f":gray[:small[{pages}{count(document.passages, 'passage')} · {file_size(document.size)}]]"
    )
    label = ":gray[:small[Remove]]"
    if button.button(label, key=f"remove-{document.id}", help=f"Remove {document.name}", type="tertiary"):
        engine.remove(document.id)
        st.session_state["outcomes"] = []
        st.rerun()
