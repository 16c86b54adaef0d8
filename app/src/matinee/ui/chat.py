"""The chat: ask, read the answer, open what it cites, say what it is worth, ask again."""

from collections.abc import Container

import streamlit as st
from streamlit.navigation.page import Page

from matinee.engine import SAMPLE_NAME
from matinee.llm import Turn
from matinee.stores.conversations import Conversation, Message
from matinee.stores.truth import StoredDocument
from matinee.ui import answer, asking, ingest, upload
from matinee.ui.asking import Asking, Where
from matinee.ui.footer import draw_footer
from matinee.ui.history import draw_menu
from matinee.ui.text import count, escape_markdown, id_in, names, without_marks
from matinee.workspace import Workspace

EXAMPLES = (
    "What does a stopped demo still cost?",
    "Why does the address stay the same after a stop?",
    "What is the CI user allowed to do?",
)
LONGEST = 4000  # characters of a question
YOU, MATINEE = ":material/person:", ":material/theater_comedy:"


def draw(workspace: Workspace, here: Page) -> None:
    """Draw the conversation which the address names, or a new one, and take the next question."""
    running = (
        asking.running()
    )  # before the conversation is read, which then has the answers that are not here
    conversation = _addressed(workspace)
    # a link from this page to itself changes what the server is told, but not what the browser shows
    st.query_params.from_dict({"conversation": str(conversation.id)} if conversation else {})
    documents = workspace.documents()
    with st.bottom:
        where = _draw_where(workspace, documents)
        question = st.chat_input(
            "Ask about your documents", key="question", max_chars=LONGEST, disabled=not documents
        )
        draw_footer(workspace)
    if conversation:
        draw_menu(workspace, conversation, here)
        for message in conversation.messages:
            _draw_message(workspace, conversation, message, where, running.get(message.id))
    else:
        question = _draw_welcome(workspace, documents) or question
    if question:
        _ask(workspace, conversation, question, where)


def _addressed(workspace: Workspace) -> Conversation | None:
    """Return the conversation which the address names, if this person has it."""
    named = st.query_params.get("conversation", "")
    if not named:
        return None
    key = id_in(named)
    conversation = workspace.conversations.get(key) if key else None
    if conversation is None:
        st.info("There is no such conversation here. Choose one on the left, or ask a new question.")
    return conversation


def _ask(workspace: Workspace, conversation: Conversation | None, question: str, where: Where) -> None:
    """Begin to answer; a question before it that is still being answered ends with what it has."""
    messages = conversation.messages if conversation else ()
    if conversation:
        asking.stop(conversation.id)
    key = conversation.id if conversation else workspace.conversations.create(question)
    turns = [
        Turn(message.question, without_marks(message.answer.text))
        for message in messages
        if message.answer.text
    ]
    asking.begin(workspace, key, question, turns, where)
    st.query_params["conversation"] = str(key)
    st.rerun()


def _ask_again(
    workspace: Workspace, conversation: Conversation, message: Message, question: str, where: Where
) -> None:
    """Ask a question in place of a message and of all that came after it."""
    asking.stop(conversation.id)  # before the messages are gone
    workspace.conversations.cut(conversation.id, message.id)
    _ask(workspace, workspace.conversations.get(conversation.id), question, where)


def _draw_welcome(workspace: Workspace, documents: list[StoredDocument]) -> str | None:
    """Say what to do; returns the example question that was clicked, if one was."""
    st.title("Ask your documents", anchor=False)
    st.markdown(
        "Every answer names the passages it comes from, and each of them opens in its place. "
        "What your documents do not say is not guessed."
    )
    example = None
    adding = ingest.ingest_of(workspace.person)
    if not documents and not adding.active:
        if st.button("Try the sample", icon=":material/auto_stories:", type="primary"):
            adding.add([(SAMPLE_NAME, workspace.add_sample)])
            st.rerun()
        st.caption("Or add documents of your own. They stay on this server.")
    elif documents:
        listed = escape_markdown(names([document.name for document in documents]))
        st.caption(f"{count(len(documents), 'document')} to ask: {listed}")
    if any(document.name == SAMPLE_NAME for document in documents):
        for text in EXAMPLES:
            if st.button(text, icon=":material/chat_bubble:"):
                example = text
    upload.draw(workspace)
    ingest.draw(adding)
    return example


def _draw_where(workspace: Workspace, documents: list[StoredDocument]) -> Where:
    """Let the person choose where to look."""
    if len(documents) < 2:
        return Where()
    collections = {item.id: item.name for item in workspace.collections() if item.documents}
    chosen_collections = _still_there("collections", collections)
    by_id = {
        item.id: item.name
        for item in documents
        if not chosen_collections or item.collection_id in chosen_collections
    }
    chosen_documents = _still_there("documents", by_id)
    label = "all documents"
    if chosen_documents:
        label = count(len(chosen_documents), "document")
    elif chosen_collections:
        label = ", ".join(collections[key] for key in chosen_collections)
    with st.popover(f"Asking {escape_markdown(label)}", icon=":material/filter_list:", type="tertiary"):
        st.multiselect(
            "Collections to ask",
            list(collections),
            format_func=lambda key: collections[key],
            placeholder="All collections",
            key="collections",
            persist_state="session",
        )
        st.multiselect(
            "Documents to ask",
            list(by_id),
            format_func=lambda key: by_id[key],
            placeholder="All documents of these collections",
            key="documents",
            persist_state="session",
        )
    return Where(tuple(chosen_collections) or None, tuple(chosen_documents) or None)


def _still_there(key: str, ids: Container[int]) -> list[int]:
    """Forget what was chosen and is no longer among the choices; returns the rest."""
    before = st.session_state.get(key, [])
    chosen = [item for item in before if item in ids]
    if chosen != before:
        st.session_state[key] = chosen
    return chosen


def _draw_message(
    workspace: Workspace, conversation: Conversation, message: Message, where: Where, running: Asking | None
) -> None:
    with st.container(key=f"asked-{message.id}"), st.chat_message("user", avatar=YOU):
        _draw_question(workspace, conversation, message, where)
    with st.chat_message("assistant", avatar=MATINEE):
        if running:
            _watch(running)
        else:
            answer.draw(workspace, message.id, message.answer)
            _draw_actions(workspace, conversation, message, where)


def _draw_question(workspace: Workspace, conversation: Conversation, message: Message, where: Where) -> None:
    if st.session_state.get("editing") != message.id:
        st.markdown(escape_markdown(message.question).replace("\n", "  \n"))
        return

    def stop_editing() -> None:
        st.session_state["editing"] = None

    with st.form(f"edit-{message.id}", border=False):
        question = st.text_area("Edit the question", message.question, max_chars=LONGEST)
        later = conversation.messages[-1].id != message.id
        st.caption("The answer is written anew" + (", and what came after it is removed." if later else "."))
        with st.container(horizontal=True):
            ask = st.form_submit_button("Ask again", type="primary")
            st.form_submit_button("Cancel", on_click=stop_editing)
    if ask and question.strip():
        stop_editing()
        _ask_again(workspace, conversation, message, question.strip(), where)


def _watch(running: Asking) -> None:
    """Show an answer as it comes; the page is drawn again when it is whole."""
    stage, text = st.empty(), st.empty()
    st.button("Stop", icon=":material/stop_circle:", on_click=running.stop, help="Keep what has come so far")
    for _ in running.watch():
        stage.markdown("" if running.text else f":shimmer[{escape_markdown(running.stage)}]")
        text.markdown(answer.badged(running.text) + " ▌" if running.text else "")
    st.rerun()


def _draw_actions(workspace: Workspace, conversation: Conversation, message: Message, where: Where) -> None:
    """Draw what can be done with an answer; the labels, which only a screen reader reads, are unique."""
    number = conversation.messages.index(message) + 1

    def edit() -> None:
        st.session_state["editing"] = message.id

    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"actions-{message.id}"):
        _draw_thumbs(workspace, message)
        if message.id == conversation.messages[-1].id and st.button(
            f"Regenerate answer {number}",
            key=f"icon-regenerate-{message.id}",
            icon=":material/refresh:",
            type="tertiary",
            help="Write this answer anew",
        ):
            _ask_again(workspace, conversation, message, message.question, where)
        st.button(
            f"Edit question {number}",
            key=f"icon-edit-{message.id}",
            icon=":material/edit:",
            type="tertiary",
            help="Edit the question",
            on_click=edit,
        )
    if message.answer.trace:
        answer.draw_trace(message.id, message.answer.trace)


def _draw_thumbs(workspace: Workspace, message: Message) -> None:
    thumb, note = f"thumb-{message.id}", f"note-{message.id}"

    def rate() -> None:
        value = {None: 0, 0: -1, 1: 1}[st.session_state[thumb]]
        workspace.conversations.rate(message.id, value, st.session_state.get(note, message.note))

    stored = {0: None, -1: 0, 1: 1}[message.thumb]
    st.feedback("thumbs", key=thumb, default=stored, on_change=rate)
    if st.session_state[thumb] is not None:
        st.text_input(
            f"Note on answer {message.id}",
            message.note,
            key=note,
            placeholder="What is good or wrong about it?",
            label_visibility="collapsed",
            on_change=rate,
            max_chars=1000,
            width=320,
        )
