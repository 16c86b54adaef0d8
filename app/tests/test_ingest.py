"""Files on their way: one after another, told of until that is dismissed, and then forgotten."""

import gc
import threading
import weakref

from matinee.engine import Added, Progress
from matinee.stores.truth import Outcome
from matinee.ui.ingest import Add, Ingest, ingest_of


def wait(ingest: Ingest) -> None:
    """Wait until no file is on its way."""
    pause = threading.Event()
    while ingest.active:
        pause.wait(0.01)


def adder(name: str) -> Add:
    """Return what adds a file at once."""
    return lambda _progress: Added(name, Outcome.ADDED)


def test_a_person_s_files_are_added_one_after_another_however_often_some_are_uploaded() -> None:
    ingest, together, begun = ingest_of("ann"), threading.Barrier(2), []

    def add(progress: Progress) -> Added:
        begun.append(progress)
        try:
            together.wait(0.3)  # a second file at the same time would open it
        except threading.BrokenBarrierError:
            return Added("file", Outcome.ADDED)
        raise AssertionError("Two files were added at once")

    for _ in range(2):
        ingest.add([("file", add)])
    wait(ingest)
    assert len(begun) == 2
    assert [item.error for item in ingest.items] == ["", ""]
    ingest.dismiss()


def test_what_became_of_files_is_told_to_the_next_page_until_it_is_dismissed() -> None:
    ingest_of("bob").add([("harbour.txt", adder("harbour.txt"))])
    wait(ingest_of("bob"))
    gc.collect()
    assert [item.outcome for item in ingest_of("bob").items] == [Outcome.ADDED]
    kept = weakref.ref(ingest_of("bob"))
    ingest_of("bob").dismiss()
    gc.collect()
    pause = threading.Event()  # the thread that added it may take a moment to end
    assert any(kept() is None or pause.wait(0.01) for _ in range(500))
