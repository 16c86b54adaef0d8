"""Ends a connection that has been silent for too long, or for which nobody waits any more.

A time-out of the HTTP client starts anew with every byte, and providers send bytes to keep a connection open
while the model has not begun: only a clock of its own tells that no word has come.
"""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import httpx2


LOOK_SECONDS = 0.2  # between two looks whether the answer is still wanted


class Watchdog:
    """Shuts the response's connection when a deadline passes, which ends the read that waits for it.

    Args:
        response: the HTTP response being read.
        first: until when the first word is waited for, by `time.monotonic()`.
        last: until when all of the answer is.
        stop: is set when the answer is not wanted any more.
    """

    def __init__(self, response: "httpx2.Response", first: float, last: float, stop: threading.Event) -> None:
        self._socket: socket.socket | None = response.extensions["network_stream"].get_extra_info("socket")
        self._changed = threading.Condition()
        self._first = min(first, last)
        self._last = last
        self._deadline = self._first
        self._over = False
        self._stop = stop
        self.expired = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="answer-watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    def rest(self) -> None:
        """Do not count the time in which nobody reads."""
        self._set(self._last)

    def expect(self, within: float | None) -> None:
        """Wait for the next word at most this long; None: still for the first one."""
        self._set(self._first if within is None else min(time.monotonic() + within, self._last))

    def _set(self, deadline: float) -> None:
        with self._changed:
            self._deadline = deadline
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._over and not self._stop.is_set():
                left = self._deadline - time.monotonic()
                if left <= 0:
                    self.expired = True
                    break
                self._changed.wait(min(left, LOOK_SECONDS))
            if not self._over and self._socket is not None:
                with suppress(OSError):  # it may be closed already
                    self._socket.shutdown(socket.SHUT_RDWR)
