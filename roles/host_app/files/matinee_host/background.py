"""Slow work beside the launcher's own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future


def in_background[T](work: Callable[[], T]) -> Future[T]:
    """Do something in a thread that does not keep the program from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
