"""The page: its address says which part of the app is shown."""

import logging
from pathlib import Path

import streamlit as st

from matinee.errors import MatineeError
from matinee.ui import chat, documents, evaluation, history, reader
from matinee.ui.footer import draw_footer
from matinee.ui.session import has_cookie, open_workspace
from matinee.ui.text import escape_markdown

FOLDER = Path(__file__).parent

logger = logging.getLogger("matinee.ui")


def main() -> None:
    """Draw the page which the address names."""
    st.set_page_config(page_title="Matinee", page_icon="🎭", layout="centered")
    st.html(FOLDER / "style.css")
    st.logo(FOLDER / "logo.svg", size="large")
    workspace = open_workspace()
    chat_page = st.Page(
        lambda: chat.draw(workspace, chat_page), title="Chat", icon=":material/forum:", default=True
    )
    documents_page = st.Page(
        lambda: documents.draw(workspace, reader_page),
        title="Documents",
        icon=":material/folder_open:",
        url_path="documents",
    )
    reader_page = st.Page(
        lambda: reader.draw(workspace), title="Document", url_path="document", visibility="hidden"
    )
    evaluation_page = st.Page(
        lambda: evaluation.draw(workspace),
        title="Evaluation",
        icon=":material/speed:",
        url_path="evaluation",
    )
    page = st.navigation([chat_page, documents_page, evaluation_page, reader_page])
    st.set_page_config(page_title="Matinee" if page is chat_page else f"{page.title} · Matinee")
    with st.sidebar:
        history.draw_list(workspace, chat_page)
        if not has_cookie():
            st.caption("This browser keeps no cookies, so your conversations end when you close the page.")
    try:
        page.run()
    except MatineeError as error:
        st.error(escape_markdown(str(error)), icon=":material/error:")
    except Exception:
        logger.exception("A page could not be drawn.")
        st.error(
            "An error in Matinee, see its log. Reload the page to try once more.", icon=":material/error:"
        )
    if page is not chat_page:
        draw_footer(workspace)


main()
