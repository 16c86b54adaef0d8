"""The journal of app, launcher and proxy, copied to CloudWatch Logs.

The journal is the buffer: what could not be sent is read again, from the place that is kept on the disk.
A line may come twice after a crash, and is never left out for want of a connection.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from matinee_host.cloud import Reports
from matinee_host.model import replace_file

# Whose lines go to which stream; as in logs.yml
STREAMS = {
    "app": ["CONTAINER_NAME=matinee-app", "CONTAINER_NAME=matinee-app-next"],
    "launcher": ["_SYSTEMD_UNIT=matinee-app.service", "+", "UNIT=matinee-app.service"],
    "proxy": [
        *["SYSLOG_IDENTIFIER=matinee_access", "+", "_SYSTEMD_UNIT=nginx.service", "+", "UNIT=nginx.service"]
    ],
}

# What PutLogEvents takes at once: 10,000 lines, 1,048,576 bytes with 26 more for each line, lines of 256 KB,
# and no more than 24 hours from the first to the last (its API reference, November 2026; some editions leave
# the hours out)
BATCH_LINES = 1000
BATCHES = 30  # one after the other, so that a flood of lines does not keep the figures waiting
BATCH_BYTES = 1_000_000
LINE_BYTES = 250_000
OVERHEAD = 26
BATCH_MILLISECONDS = 23 * 3600 * 1000


class Shipper:
    """Copies the lines of one stream.

    Args:
        reports: Where they go.
        group: The log group.
        stream: Its stream, one of `STREAMS`.
        directory: Where the place in the journal is kept.
    """

    def __init__(self, reports: Reports, group: str, stream: str, directory: Path) -> None:
        self.reports = reports
        self.group = group
        self.stream = stream
        self.place = directory / f"{stream}.cursor"

    def ship(self) -> None:
        """Send what is new.

        Raises:
            CloudError: AWS did not take it; the next call begins with it again.
            OSError: The journal cannot be read, or the place not be kept.
        """
        for _ in range(BATCHES):
            entries = batch(self.read())
            if not entries:
                return
            lines = sorted((time_of(entry), text) for entry in entries if (text := text_of(entry)))
            if lines:
                self.reports.put_lines(self.group, self.stream, lines)
            replace_file(self.place, entries[-1]["__CURSOR"])

    def read(self) -> list[dict[str, Any]]:
        """The next entries of the journal; the first ever are those of this boot."""
        try:
            begin = f"--after-cursor={self.place.read_text()}"
        except FileNotFoundError:
            begin = "--boot"
        asked = ["/usr/bin/journalctl", "--quiet", "--all", "--output=json", "--output-fields=MESSAGE"]
        done = subprocess.run(
            [*asked, f"--lines=+{BATCH_LINES}", begin, *STREAMS[self.stream]],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            self.place.unlink(missing_ok=True)  # the place may be damaged
            raise OSError(f"journalctl: {done.stderr.decode(errors='replace').strip()}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def batch(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many of the first entries as are taken at once."""
    size = 0
    for place, entry in enumerate(entries):
        size += len(text_of(entry).encode()) + OVERHEAD
        apart = abs(time_of(entry) - time_of(entries[0]))
        if place and (size > BATCH_BYTES or apart > BATCH_MILLISECONDS):
            return entries[:place]
    return entries


def time_of(entry: dict[str, Any]) -> int:
    """When it was said, in milliseconds."""
    return int(entry["__REALTIME_TIMESTAMP"]) // 1000


def text_of(entry: dict[str, Any]) -> str:
    """What was said; of bytes that are no text, what can be read of them."""
    said = entry.get("MESSAGE") or ""
    raw = bytes(said) if isinstance(said, list) else said.encode()
    return raw[:LINE_BYTES].decode(errors="replace").strip()
