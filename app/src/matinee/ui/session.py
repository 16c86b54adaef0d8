"""Who looks at the page, and what this person can do."""

import streamlit as st

from matinee.engine import shared_engine
from matinee.identity import COOKIE, is_token, new_token, person_of
from matinee.workspace import Workspace


def has_cookie() -> bool:
    """Whether the browser keeps the cookie it is known by."""
    return is_token(st.context.cookies.get(COOKIE))


def open_workspace() -> Workspace:
    """Return the workspace of the person who looks; without a cookie, of somebody new for this session."""
    token = st.context.cookies[COOKIE] if has_cookie() else st.session_state.setdefault("token", new_token())
    return shared_engine().workspace(person_of(token))
