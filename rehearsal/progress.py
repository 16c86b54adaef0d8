"""Progress on stderr: what is being done, that it still is, and how long it took."""

import collections
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HEARTBEAT = 8.0
KEPT_LINES = 40


class RehearsalError(Exception):
    """Something the user has to know or do; the message says what."""


def say(text: str) -> None:
    """Print one line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


class Step:
    """One piece of work which may take long: named at its start, repeated while it lasts, timed at its end.

    Example:
        with Step("building matinee-host") as step:
            for line in output:
                step.note(line)
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._started = 0.0
        self._done = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        say(f"{self.title} ...")
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._heart.join()
        if error is None:
            say(f"{self.title}: done in {time.monotonic() - self._started:.0f} s")

    def note(self, output: str) -> None:
        """Remember lines of output: the heartbeat shows the latest, a failure the last forty."""
        self.lines.extend(line.strip() for line in output.splitlines() if line.strip())

    def tail(self) -> str:
        """The last lines of output, for an error message."""
        return "\n".join(f"    {line}" for line in self.lines)

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT):
            latest = self.lines[-1][:90] if self.lines else "working"
            say(f"  {time.monotonic() - self._started:4.0f} s  {latest}")


def run(title: str, *argv: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Run a command as a step.

    Raises:
        RehearsalError: It cannot be started or ends non-zero; the message has its last lines of output.
    """
    with Step(title) as step:
        try:
            process = subprocess.Popen(
                [str(arg) for arg in argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=env,
            )
        except OSError as error:
            raise RehearsalError(f"{title}: cannot run {argv[0]}: {error.strerror}") from error
        with process:
            for line in process.stdout or ():
                step.note(line)
        if process.returncode:
            raise RehearsalError(f"{title}: {argv[0]} failed ({process.returncode}):\n{step.tail()}")


def follow_build(title: str, events: Iterable[Mapping[str, Any]]) -> None:
    """Show the events of a docker build or pull as a step.

    Raises:
        RehearsalError: The engine reports an error; the message has the last lines of output.
    """
    with Step(title) as step:
        for event in events:
            if "error" in event:
                raise RehearsalError(f"{title}: {event['error']}\n{step.tail()}")
            step.note(str(event.get("stream") or event.get("status") or ""))
