"""The documents: add, see, sort, move and remove them."""

import streamlit as st
from streamlit.navigation.page import Page

from matinee.engine import SAMPLE_NAME
from matinee.errors import MatineeError
from matinee.stores.truth import DEFAULT_COLLECTION, Collection, StoredDocument
from matinee.ui import ingest, upload
from matinee.ui.reader import facts
from matinee.ui.text import count, escape_markdown
from matinee.workspace import Workspace

PER_PAGE = 40
ALL = 0  # the id of no collection; None would show as nothing chosen


def draw(workspace: Workspace, reader: Page) -> None:
    """Draw the documents and what can be done with them."""
    st.title("Documents", anchor=False)
    collection = _draw_collections(workspace)
    target = collection.id if collection else DEFAULT_COLLECTION
    _draw_adding(workspace, target)
    documents = workspace.documents(collection.id if collection else None)
    if not documents:
        if collection:
            st.markdown("**No documents in this collection yet.** Drop some files above.")
            return
        st.markdown("**No documents yet.** Drop some files above, or try the sample.")
        if st.button("Try the sample", icon=":material/auto_stories:", type="primary"):
            ingest.ingest_of(workspace.person).add([(SAMPLE_NAME, workspace.add_sample)])
            st.rerun()
        return
    _draw_list(workspace, _filtered(documents), len(documents), reader)


def _draw_collections(workspace: Workspace) -> Collection | None:
    """Let the person choose a collection; None is all of them."""
    collections = {item.id: item for item in workspace.collections()}

    def label(key: int) -> str:
        if key == ALL:
            return "All collections"
        item = collections[key]
        return f"{item.name} ({count(item.documents, 'document')}{', private' if item.private else ''})"

    # Set anew, or the browser goes on showing its name and number of documents as they were when chosen
    shown = st.session_state.get("collection")
    st.session_state["collection"] = shown if shown in collections else ALL
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = st.selectbox(
            "Collection", [ALL, *collections], format_func=label, key="collection", width="stretch"
        )
        if st.button("New collection", icon=":material/create_new_folder:"):
            _add_collection(workspace)
        chosen = collections.get(key)
        if chosen and st.button("Rename collection", icon=":material/edit:"):
            _rename_collection(workspace, chosen)
        if (
            chosen
            and chosen.id != DEFAULT_COLLECTION
            and st.button("Remove collection", icon=":material/delete:")
        ):
            _remove_collection(workspace, chosen)
    return chosen


def _draw_adding(workspace: Workspace, target: int) -> None:
    upload.draw(workspace, target)
    adding = ingest.ingest_of(workspace.person)
    with (
        st.form("page", border=False, clear_on_submit=True),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        url = st.text_input("Or add a web page, or a file by its address", type="url", width="stretch")
        submitted = st.form_submit_button("Add page", icon=":material/add_link:")
    if submitted and url:
        name = url.partition("://")[2].partition("/")[0] or url
        adding.add([(name, lambda progress: workspace.add_url(url, target, progress=progress))])
        st.rerun()
    ingest.draw(adding)


def _filtered(documents: list[StoredDocument]) -> list[StoredDocument]:
    """Let the person narrow the list; draws nothing where there is little to narrow."""
    tags = sorted({tag for document in documents for tag in document.tags})
    if tags:
        chosen = st.pills("Tags", tags, selection_mode="multi", key="tags")
        documents = [document for document in documents if set(chosen) <= set(document.tags)]
    if len(documents) > 8:
        words = st.text_input("Find by name", type="search", key="find").casefold().split()
        documents = [item for item in documents if all(word in item.name.casefold() for word in words)]
    return documents


def _draw_list(workspace: Workspace, documents: list[StoredDocument], total: int, reader: Page) -> None:
    shown = f"{len(documents):,} of " if len(documents) < total else ""
    st.markdown(f"## {shown}{count(total, 'document')}", anchors=False)
    pages = -(-len(documents) // PER_PAGE)
    number = st.pagination(pages, key="list") if pages > 1 else 1
    for document in documents[(number - 1) * PER_PAGE : number * PER_PAGE]:
        _draw_document(workspace, document, reader)


def _draw_document(workspace: Workspace, document: StoredDocument, reader: Page) -> None:
    name = escape_markdown(document.name)
    with (
        st.container(key=f"document-{document.id}", gap=None),
        st.container(horizontal=True, vertical_alignment="center", gap="small"),
    ):
        with st.container(gap=None, width="stretch"):
            st.page_link(
                reader,
                label=f"**{name}**",
                icon=":material/description:",
                query_params={"id": str(document.id)},
            )
            st.caption(facts(document))
            for notice in document.notices:
                st.caption(f":material/warning: {escape_markdown(notice)}")
        edit, remove = f"icon-edit-{document.id}", f"icon-remove-{document.id}"
        if st.button(
            f"Edit {name}", key=edit, icon=":material/edit:", type="tertiary", help="Tags, collection"
        ):
            _edit(workspace, document)
        if st.button(f"Remove {name}", key=remove, icon=":material/delete:", type="tertiary", help="Remove"):
            _remove(workspace, document)


@st.dialog("Edit a document")
def _edit(workspace: Workspace, document: StoredDocument) -> None:
    st.markdown(f"**{escape_markdown(document.name)}**")
    known = sorted({tag for item in workspace.documents() for tag in item.tags})
    tags = st.multiselect(
        "Tags", known, default=list(document.tags), accept_new_options=True, placeholder="Choose or type some"
    )
    collections = {item.id: item.name for item in workspace.collections()}
    ids = list(collections)
    target = st.selectbox(
        "Collection", ids, index=ids.index(document.collection_id), format_func=lambda key: collections[key]
    )
    if st.button("Save", type="primary"):
        try:
            workspace.set_tags(document.id, tags)
            if target != document.collection_id:
                workspace.move(document.id, target)
        except MatineeError as error:
            st.error(escape_markdown(str(error)))
        else:
            st.rerun()


@st.dialog("Remove this document?")
def _remove(workspace: Workspace, document: StoredDocument) -> None:
    st.markdown(
        f"**{escape_markdown(document.name)}** and its passages are removed for everybody who sees it. "
        "Answers already given keep what they quote."
    )
    with st.container(horizontal=True):
        if st.button("Remove the document", type="primary"):
            workspace.remove(document.id)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()


@st.dialog("New collection")
def _add_collection(workspace: Workspace) -> None:
    with st.form("new-collection", border=False):
        name = st.text_input("Name", max_chars=80)
        private = st.checkbox("Private: nobody else sees it")
        submitted = st.form_submit_button("Create", type="primary")
    if submitted:
        try:
            added = workspace.add_collection(name, private)
        except MatineeError as error:
            st.error(escape_markdown(str(error)))
        else:
            st.session_state["collection"] = added.id
            st.rerun()


@st.dialog("Rename a collection")
def _rename_collection(workspace: Workspace, collection: Collection) -> None:
    with st.form("rename-collection", border=False):
        name = st.text_input("Name", collection.name, max_chars=80)
        submitted = st.form_submit_button("Rename", type="primary")
    if submitted:
        try:
            workspace.rename_collection(collection.id, name)
        except MatineeError as error:
            st.error(escape_markdown(str(error)))
        else:
            st.rerun()


@st.dialog("Remove this collection?")
def _remove_collection(workspace: Workspace, collection: Collection) -> None:
    name = escape_markdown(collection.name)
    st.markdown(
        f"**{name}** is removed with its {count(collection.documents, 'document')} for everybody who sees it."
        " Answers already given keep what they quote."
    )
    with st.container(horizontal=True):
        if st.button("Remove the collection", type="primary"):
            workspace.remove_collection(collection.id)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()
