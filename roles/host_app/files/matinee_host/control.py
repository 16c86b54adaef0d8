"""How commands ask the launcher for something: one at a time, over a socket."""

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matinee_host.model import BusyError, Config, LaunchError, now


@dataclasses.dataclass(frozen=True)
class Request:
    """What somebody asks for; what an action does not need is left at its default."""

    action: str
    by: str = ""
    again: bool = False
    version: str = ""
    bucket: str = ""
    backup: str = ""
    hours: float | None = None
    idle_minutes: float | None = None
    even_if_watched: bool | None = None


@contextmanager
def listen(path: Path) -> Iterator[socket.socket]:
    """Take requests at `path`; what a launcher that was killed left there is replaced."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        path.chmod(0o600)
        server.listen()
        yield server


def receive(connection: socket.socket) -> Request | None:
    """Read one request; None when who asked has left."""
    connection.settimeout(5)
    with contextlib.suppress(OSError, ValueError, TypeError), connection.makefile() as lines:
        return Request(**json.loads(lines.readline()))
    return None


def answer(connection: socket.socket, reply: dict[str, Any]) -> None:
    """Answer a request; who asked may have left."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(reply).encode() + b"\n")


def ask(config: Config, request: Request, wait: float) -> dict[str, Any]:
    """Have the launcher do something, after whoever asked before.

    Args:
        config: Where the launcher is.
        request: What it is to do.
        wait: Seconds to wait for somebody else's turn to end.

    Returns:
        Its answer: exit_code, and result or reason and log.

    Raises:
        BusyError: Somebody else's turn did not end in time.
        LaunchError: The launcher is not there, or ended in the middle.
    """
    with _turn(config.lock_file, request, wait), socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(config.socket))
            connection.sendall(json.dumps(dataclasses.asdict(request)).encode() + b"\n")
            with connection.makefile() as lines:
                line = lines.readline()
        except OSError as error:
            raise LaunchError(
                f"The launcher does not run ({error}): systemctl status matinee-app says why."
            ) from error
    if not line:
        raise LaunchError(
            "The launcher ended in the middle and starts again; look at its status, then repeat."
        )
    reply: dict[str, Any] = json.loads(line)
    return reply


@contextmanager
def _turn(path: Path, request: Request, wait: float) -> Iterator[None]:
    """Hold the lock; the system gives it up when the process ends, however it ends."""
    deadline = time.monotonic() + wait
    said = ""
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = path.read_text().strip() or "somebody"
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"Not done: {holder} is not finished after {wait:g} s of waiting. Try again later."
                )
            if holder != said:
                print(f"Waiting for {holder}.", file=sys.stderr, flush=True)
                said = holder
            time.sleep(0.2)
        file.truncate(0)
        file.write(
            f"the {request.action} by {request.by or 'somebody'} (process {os.getpid()}, since {now()})\n"
        )
        file.flush()
        yield
        file.truncate(0)
