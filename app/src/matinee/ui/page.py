"""The page: documents on the left, questions and answers in the middle."""

import html

import streamlit as st

from matinee.engine import Engine, shared_engine
from matinee.ui import chat, library

STYLE = """
<style>
.block-container { max-width: 52rem; padding: 3.5rem 1rem 2rem; }
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0; }
[data-testid="stBottomBlockContainer"] { max-width: 52rem; padding: 1rem 1rem 2.6rem; }
.matinee-passage { font-size: .92rem; line-height: 1.6; white-space: pre-line; overflow-wrap: anywhere;
  color: #78716c; margin: 0; }
.matinee-passage mark { background: #fdf3d7; color: #1c1917; padding: .1rem 0; }
.matinee-passage mark.quote { background: #fbd38d; }
.matinee-footer { position: fixed; right: 1rem; bottom: .5rem; z-index: 1000;
  font-size: .78rem; color: #78716c; }
</style>
"""


def main() -> None:
    """Draw the page."""
    st.set_page_config(page_title="Matinee", page_icon="🎭", layout="centered")
    st.html(STYLE)
    engine: Engine = shared_engine()
    with st.sidebar:
        library.draw(engine)
    chat.draw(engine)
    st.html(f'<footer class="matinee-footer">Matinee {html.escape(engine.settings.version)}</footer>')


main()
