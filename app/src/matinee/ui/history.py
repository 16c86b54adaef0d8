"""The conversations in the side panel, and what can be done with one."""

import streamlit as st
from streamlit.navigation.page import Page

from matinee.errors import MatineeError
from matinee.stores.conversations import Conversation
from matinee.ui import asking
from matinee.ui.text import escape_markdown
from matinee.workspace import Workspace

SHOWN = 30  # conversations in the list; the search finds the others


def draw_list(workspace: Workspace, chat: Page) -> None:
    """Draw the conversations, last used first."""
    with st.container(key="new-chat"):
        st.page_link(chat, label="New chat", icon=":material/add_comment:", query_params={})
    search = st.text_input(
        "Search conversations",
        type="search",
        key="search",
        label_visibility="collapsed",
        placeholder="Search conversations",
    )
    found = workspace.conversations.list(search)
    if search and not found:
        st.caption("No conversation has these words.")
    current = st.query_params.get("conversation")
    with st.container(gap=None, key="conversations"):
        for item in found[:SHOWN]:
            title = escape_markdown(item.title)
            st.page_link(
                chat,
                label=f"**{title}**" if str(item.id) == current else title,
                icon="",
                query_params={"conversation": str(item.id)},
            )
    if len(found) > SHOWN:
        st.caption(f"{len(found) - SHOWN:,} older ones: search for them.")


def draw_menu(workspace: Workspace, conversation: Conversation, chat: Page) -> None:
    """Draw a conversation's title and what can be done with it."""
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="head"
    ):
        st.title(escape_markdown(conversation.title), anchor=False, width="stretch")
        with st.popover("Conversation", icon=":material/more_horiz:", type="tertiary"):
            _draw_actions(workspace, conversation, chat)


def _draw_actions(workspace: Workspace, conversation: Conversation, chat: Page) -> None:
    with st.form("rename", border=False):
        title = st.text_input("Title", conversation.title, key=f"title-{conversation.id}", max_chars=80)
        if st.form_submit_button("Rename", icon=":material/edit:", width="stretch"):
            try:
                workspace.conversations.rename(conversation.id, title)
            except MatineeError as error:
                st.error(str(error))
            else:
                st.rerun()
    name = "".join(character if character.isalnum() else "-" for character in conversation.title)[:60]
    st.download_button(
        "Download as Markdown",
        lambda: workspace.conversations.markdown(conversation.id),
        f"{name}.md",
        "text/markdown",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
    )
    st.download_button(
        "Download as JSON",
        lambda: workspace.conversations.json(conversation.id),
        f"{name}.json",
        "application/json",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
    )
    # no dialog: its buttons would wait for an answer that is being written
    with st.expander("Delete…", icon=":material/delete:"):
        st.markdown("It cannot be brought back.")
        if st.button("Delete the conversation", type="primary", width="stretch"):
            asking.stop(conversation.id)
            workspace.conversations.remove(conversation.id)
            st.switch_page(chat, query_params={})
