"""What the host says of itself: to people, to systemd, and to whoever opens the page meanwhile."""

import dataclasses
import html
import json
import os
import socket
from pathlib import Path

from matinee_host.model import Config, Release, log, now, replace_file


@dataclasses.dataclass(frozen=True)
class Status:
    """What this host does now.

    `state` is one of starting, serving, no-image, failed, stopped; `step` is what goes on meanwhile: looking,
    pulling, starting, checking, switching or nothing.
    """

    state: str
    step: str = ""
    image: str | None = None  # what serves
    digest: str | None = None
    version: str | None = None
    candidate: str = ""  # the version that is being tried
    reason: str = ""  # why the newest is not served, or nothing is
    log: str = ""  # the end of the log of the container that failed
    since: str = dataclasses.field(default_factory=now)

    @classmethod
    def serving(cls, release: Release, reason: str, log: str) -> "Status":
        """The status of a host which serves `release`."""
        return cls("serving", "", release.image, release.digest, release.version, reason=reason, log=log)


def read_status(path: Path) -> Status:
    """Read the status; without a file the launcher has not run since the host booted."""
    try:
        return Status(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # or another version of the launcher has written it
        return Status("stopped", reason="The launcher has not run since this host booted.")


def report(config: Config, status: Status) -> None:
    """Say what the host does now: in the status file, in the journal, to systemd and on the holding page."""
    replace_file(config.status_file, json.dumps(dataclasses.asdict(status), indent=1))
    trying = " ".join(filter(None, [status.step, status.candidate]))
    line = ": ".join(filter(None, [status.state, status.version, trying, status.reason]))
    log.info("%s", line)
    for logged in status.log.splitlines():
        log.info("| %s", logged)
    notify("STATUS=" + " ".join(line.split()))  # of one line: the next would be another message
    replace_file(Path(config.proxy_directory, "message.html"), message(status, config.repository), mode=0o644)


def message(status: Status, repository: str) -> str:
    """What the holding page says. Anybody may read it, so reasons and logs are left to `status`.

    Returns:
        HTML.
    """
    candidate, repository = html.escape(status.candidate), html.escape(repository)
    if status.state == "no-image":
        return (
            f"No image has been pushed to <code>{repository}</code> yet. "
            "Push one: <code>ansible-playbook push.yml</code>. It will appear here by itself."
        )
    if status.state == "stopped":
        return "The app has been stopped."
    steps = {
        "pulling": f"Fetching version <code>{candidate}</code>.",
        "starting": f"Starting version <code>{candidate}</code>.",
        "checking": f"Version <code>{candidate}</code> is starting.",
        "switching": f"Version <code>{candidate}</code> is about to appear.",
    }
    if status.step in steps:
        instead = "The newest version is not served; a good one takes its place. " if status.reason else ""
        return instead + steps[status.step]
    if status.state == "failed":
        return "No version can be served now. The reason: <code>ansible-playbook status.yml</code>"
    return "The app is starting."


def notify(message: str) -> None:
    """Tell systemd, if it is listening."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            systemd.sendall(message.encode())
