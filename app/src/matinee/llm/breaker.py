"""Leaves a provider alone for a while after it has failed several times in a row."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Counts the failures of one provider. Safe to use from several threads.

    Args:
        failures: in a row, after which it opens.
        pause: seconds it stays open; then one request probes, and the others wait for what becomes of it.
        clock: gives the seconds.
    """

    def __init__(self, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0
        self._probing = False

    def allows(self) -> bool:
        """Tell whether to ask now. Each yes is followed by `succeeded`, `failed` or `released`."""
        with self._lock:
            if self._failures < self._limit:
                return True
            if self._probing or self._clock() < self._open_until:
                return False
            self._probing = True
            return True

    def succeeded(self) -> None:
        """Close: it answers."""
        with self._lock:
            self._failures = 0
            self._probing = False

    def failed(self) -> None:
        """Count a failure; opens when there are enough, or when the probe failed."""
        with self._lock:
            self._failures += 1
            self._probing = False
            if self._failures >= self._limit:
                self._open_until = self._clock() + self._pause

    def released(self) -> None:
        """Nothing was learnt: the request was given up."""
        with self._lock:
            self._probing = False
