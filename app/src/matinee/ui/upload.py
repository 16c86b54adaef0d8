"""The box that takes files."""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from matinee.stores.truth import DEFAULT_COLLECTION
from matinee.ui.ingest import Add, ingest_of
from matinee.workspace import Workspace


def draw(workspace: Workspace, collection_id: int = DEFAULT_COLLECTION) -> None:
    """Draw the box; files which come are added to a collection."""
    # a new key after each upload empties the box: what becomes of the files stands below it
    generation = st.session_state.setdefault("uploads", 0)
    files: list[UploadedFile] = st.file_uploader(
        "Add documents: drop files here",
        accept_multiple_files=True,
        key=f"upload-{generation}",
        help="PDF, Word, slides, spreadsheets, web pages, Markdown, text, code; "
        f"up to {workspace.engine.settings.max_upload_mb} MB each. They stay on this server.",
    )
    if not files:
        return

    def adder(name: str, data: bytes) -> Add:
        return lambda progress: workspace.add(name, data, collection_id, progress=progress)

    ingest_of(workspace.person).add([(file.name, adder(file.name, file.getvalue())) for file in files])
    st.session_state["uploads"] = generation + 1
    st.rerun()
