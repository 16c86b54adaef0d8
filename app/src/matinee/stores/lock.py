"""One process owns a data folder; a second is told who does."""

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from matinee.errors import MatineeError


class FolderInUseError(MatineeError):
    """Another process owns the data folder."""


class FolderLock:
    """A lock which the system releases when the process ends, however it ends.

    Args:
        folder: the data folder; made if it is not there.

    Raises:
        FolderInUseError: if another process holds the lock; the message says which.
        MatineeError: if the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("a+")
        except OSError as error:
            raise MatineeError(
                f"The data folder {folder} cannot be written to ({error.strerror}). "
                "Give it to the user this runs as, or set MATINEE_DATA to another folder."
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise FolderInUseError(
                f"The data folder {folder} is in use by another Matinee ({owner}). "
                "Stop that one, or set MATINEE_DATA to another folder."
            ) from None
        self._file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"process": os.getpid(), "host": socket.gethostname(), "since": now}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Give the folder up."""
        self._file.close()
