"""The foot of every page."""

import html

import streamlit as st

from matinee.workspace import Workspace


def draw_footer(workspace: Workspace) -> None:
    """Draw the version and the models which are set up."""
    engine = workspace.engine
    models = ", ".join(engine.chain.labels) if engine.chain else ""
    answers = f"answers by {models}" if models else "answers are quotes (no language model)"
    parts = (answers, f"search by {engine.embedder.name}")
    st.html(
        f'<footer class="matinee-footer"><span>Matinee {html.escape(engine.settings.version)}</span> · '
        f"{html.escape(' · '.join(parts))}</footer>"
    )
