"""Files that are being added: they go on when the person leaves the page, each person's one after another."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import streamlit as st

from matinee.engine import Added, Progress
from matinee.errors import MatineeError
from matinee.stores.truth import Outcome
from matinee.ui.text import escape_markdown, names

logger = logging.getLogger(__name__)

SHOWN = 12  # files with a bar of their own
LOOK_SECONDS = 0.4

type Add = Callable[[Progress], Added]


@dataclass
class Item:
    """A file on its way; `outcome` and `error` say what became of it."""

    name: str
    add: Add | None  # holds the file's bytes until it is added
    stage: str = "Waiting its turn"
    share: float = 0.0
    outcome: Outcome | None = None
    error: str = ""
    notices: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.add is None

    def run(self) -> None:
        """Add it and note the outcome; nothing that is wrong with it stops the others."""
        if self.add is None:
            return
        try:
            added = self.add(self._progress)
        except MatineeError as error:
            self.error = str(error)
        except Exception:  # a file nobody thought of
            logger.exception("A file could not be added.")
            self.error = f"{self.name} could not be added: an error in Matinee, see its log."
        else:
            self.name, self.outcome, self.notices = added.name, added.outcome, added.notices
        finally:
            self.add = None

    def _progress(self, stage: str, share: float) -> None:
        self.stage, self.share = stage, share


class Ingest:
    """What one person adds."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._working = False
        self._changing = threading.Lock()

    @property
    def items(self) -> list[Item]:
        """The files on their way, and those that came through since the last time."""
        with self._changing:
            return list(self._items)

    @property
    def active(self) -> bool:
        """Whether a file is on its way."""
        return any(not item.done for item in self.items)

    def add(self, files: Sequence[tuple[str, Add]]) -> None:
        """Begin to add files; what became of earlier ones is forgotten."""
        items = [Item(name, add) for name, add in files]
        with self._changing:
            self._items = [item for item in self._items if not item.done] + items
            _kept.add(self)
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, daemon=True).start()

    def dismiss(self) -> None:
        """Forget what became of files."""
        with self._changing:
            self._items = [item for item in self._items if not item.done]
            if not self._items:
                _kept.discard(self)

    def _work(self) -> None:
        while item := self._next():
            item.run()

    def _next(self) -> Item | None:
        with self._changing:
            item = next((item for item in self._items if not item.done), None)
            self._working = item is not None
            return item


# A page that shows an ingest holds it; what there is to tell is kept for the page that comes next
_ingests: WeakValueDictionary[str, Ingest] = WeakValueDictionary()
_kept: set[Ingest] = set()
_opening = threading.Lock()


def ingest_of(person: str) -> Ingest:
    """Return what a person adds, in whichever tab."""
    with _opening:
        return _ingests.setdefault(person, Ingest())


def draw(ingest: Ingest) -> None:
    """Draw the files on their way and what became of the others; at the end the page is drawn again."""
    active = ingest.active
    # Alone in its container: when the browser gets the whole page and this part of it in one go, it takes
    # this part out and puts it over what stands in that place then
    with st.container():
        st.fragment(_draw, run_every=LOOK_SECONDS if active else None)(ingest, active)


def _draw(ingest: Ingest, was_active: bool) -> None:
    if was_active and not ingest.active:
        st.rerun()
    items = ingest.items
    ahead = [item for item in items if not item.done]
    if ahead and len(items) > 1:
        done = len(items) - len(ahead)
        st.progress(done / len(items), f"{done:,} of {len(items):,} files")
    for item in ahead[:SHOWN]:
        st.progress(min(item.share, 1.0), f"{escape_markdown(item.name)}: {item.stage.lower()}")
    if len(ahead) > SHOWN:
        st.caption(f"And {len(ahead) - SHOWN:,} more, which wait their turn.")
    _draw_outcomes([item for item in items if item.done])
    if items and not ahead:
        st.button("Dismiss", on_click=ingest.dismiss, type="tertiary", help="Take these messages away")


def _draw_outcomes(done: list[Item]) -> None:
    def those(outcome: Outcome) -> str:
        return escape_markdown(names([item.name for item in done if item.outcome is outcome]))

    if added := those(Outcome.ADDED):
        st.success(f"Added {added}.", icon=":material/check_circle:")
    if replaced := those(Outcome.REPLACED):
        st.success(f"Replaced the earlier version of {replaced}.", icon=":material/published_with_changes:")
    if there := those(Outcome.THERE):
        st.info(f"Already there, so nothing was added: {there}.", icon=":material/info:")
    for item in done:
        if item.error:
            st.error(escape_markdown(item.error), icon=":material/error:")
        for notice in item.notices:
            st.warning(f"{escape_markdown(item.name)}: {escape_markdown(notice)}", icon=":material/warning:")
