"""What the host is told, what it remembers, what it says of itself, and how it fails."""

import dataclasses
import enum
import json
import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import docker.utils
from docker.errors import DockerException

log = logging.getLogger("matinee-host")


class ExitCode(enum.IntEnum):
    """The program's exit codes; its own documentation says what each means."""

    OK = 0
    FAILED = 1
    NO_IMAGE = 3
    BAD_IMAGE = 4
    BAD_CONFIG = 78


class LaunchError(Exception):
    """Why the image is not served, in words for the person who reads the status.

    Args:
        reason: What happened.
        container_log: The end of the container's log, when there was a container.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, reason: str, container_log: str = "") -> None:
        super().__init__(reason)
        self.container_log = container_log


class ConfigError(LaunchError):
    """The configuration file cannot be used."""

    exit_code = ExitCode.BAD_CONFIG


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration file, as the host_app role writes it; every key is required."""

    region: str
    repository: str
    parameters_path: str
    container: str
    listen_port: int
    port: int
    health_path: str
    health_timeout: int  # seconds
    data_path: str
    memory: str
    run_directory: str  # on tmpfs
    state_directory: str

    @property
    def environment_file(self) -> Path:
        """The container's variables, secrets among them."""
        return Path(self.run_directory, "env")

    @property
    def status_file(self) -> Path:
        """What `status` prints."""
        return Path(self.run_directory, "status.json")

    @property
    def fingerprint_file(self) -> Path:
        """The fingerprint of the variables that the container was given."""
        return Path(self.run_directory, "fingerprint")

    @property
    def state_file(self) -> Path:
        """Which images have been healthy."""
        return Path(self.state_directory, "state.json")

    @property
    def data_directory(self) -> Path:
        """The host's side of the container's data path."""
        return Path(self.state_directory, "data")

    @property
    def health_url(self) -> str:
        """Where the container answers 2xx when it is well."""
        return f"http://127.0.0.1:{self.listen_port}{self.health_path}"


def load_config(path: Path) -> Config:
    """Read and check the configuration file.

    Raises:
        ConfigError: It is missing, is not JSON, or a key is missing, unknown or of the wrong type.
    """
    try:
        values = json.loads(path.read_text())
        config = Config(**values)
        for field in dataclasses.fields(Config):
            if type(values[field.name]) is not field.type:
                raise TypeError(f"{field.name} is not of the type {getattr(field.type, '__name__', '')}")
        docker.utils.parse_bytes(config.memory)
    except (OSError, ValueError, TypeError, DockerException) as error:
        raise ConfigError(f"{path} cannot be used: {error}. Configure the host again.") from error
    return config


@dataclasses.dataclass(frozen=True)
class Release:
    """One image which can be served."""

    image: str  # what Docker knows it by: registry/repository@digest
    digest: str
    version: str | None  # what it was built from, when its label says so


@dataclasses.dataclass(frozen=True)
class State:
    """The images which have been healthy on this host."""

    current: Release | None = None
    previous: Release | None = None

    def after(self, release: Release) -> "State":
        """The state once `release` has been healthy."""
        if self.current and self.current.digest == release.digest:
            return State(release, self.previous)
        return State(release, self.current)

    @property
    def releases(self) -> list[Release]:
        """The images to keep, the best first."""
        return [release for release in (self.current, self.previous) if release]


def read_state(path: Path) -> State:
    """Read the state; a missing or damaged file is no state at all, since the registry knows better."""
    try:
        saved = json.loads(path.read_text())
        return State(*(Release(**saved[key]) if saved[key] else None for key in ("current", "previous")))
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is damaged and left aside: %s", path, error)
        return State()


def write_state(path: Path, state: State) -> None:
    """Replace the state in one step, so that a power cut leaves the old one or the new one."""
    replace_file(path, json.dumps(dataclasses.asdict(state), indent=2))


def replace_file(path: Path, text: str, owner: int = -1, mode: int = 0o600) -> None:
    """Write a file beside `path`, bring it to the disk, and put it in the place of `path`.

    Args:
        path: The file.
        text: What it is to hold.
        owner: The number of the user it is to belong to; -1 is the one who writes.
        mode: Its permissions, from its first byte on.
    """
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        os.fchown(descriptor, owner, -1)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@dataclasses.dataclass(frozen=True)
class Status:
    """What this host does now.

    `state` is one of starting, pulling, serving, no-image, failed, stopped.
    """

    state: str
    reason: str = ""
    image: str | None = None
    digest: str | None = None
    version: str | None = None
    log: str = ""  # the end of the container's log, when it failed
    since: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of(cls, state: str, release: Release, reason: str = "") -> "Status":
        """The status of a host which has come to `state` with `release`."""
        return cls(state, reason, release.image, release.digest, release.version)


def read_status(path: Path) -> Status:
    """Read the status; without a file the launcher has not run since the host booted."""
    try:
        return Status(**json.loads(path.read_text()))
    except FileNotFoundError:
        return Status("stopped", "The launcher has not run since this host booted.")


def report(config: Config, status: Status) -> None:
    """Say what the host does now: in the status file, in the journal and to systemd."""
    replace_file(config.status_file, json.dumps(dataclasses.asdict(status), indent=2))
    line = ": ".join(filter(None, [status.state, status.version or status.digest, status.reason]))
    log.info("%s", line)
    for logged in status.log.splitlines():
        log.info("| %s", logged)
    notify(f"STATUS={line}")


def notify(message: str) -> None:
    """Tell systemd, if it is listening."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            systemd.sendall(message.encode())
