"""What the host is told, what it remembers, and how it fails."""

import dataclasses
import enum
import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import docker.utils
from docker.errors import DockerException

log = logging.getLogger("matinee-host")

HISTORY = 50  # events that are remembered, and marks


class ExitCode(enum.IntEnum):
    """The program's exit codes; its own documentation says what each means."""

    OK = 0
    FAILED = 1
    NO_IMAGE = 3
    BAD_IMAGE = 4
    BUSY = 5
    BAD_CONFIG = 78


class LaunchError(Exception):
    """Why something is not served or not done, in words for the person who asked.

    Args:
        reason: What happened.
        container_log: The end of the container's log, when there was a container.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, reason: str, container_log: str = "") -> None:
        super().__init__(reason)
        self.container_log = container_log


class ImageError(LaunchError):
    """The image cannot be served; trying again would not help."""

    exit_code = ExitCode.BAD_IMAGE


class NoImageError(LaunchError):
    """No image has been pushed."""

    exit_code = ExitCode.NO_IMAGE


class BusyError(LaunchError):
    """Somebody else's release did not end in time."""

    exit_code = ExitCode.BUSY


class ConfigError(LaunchError):
    """The configuration file cannot be used."""

    exit_code = ExitCode.BAD_CONFIG


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration file, as the host_app role writes it; every key is required."""

    region: str
    repository: str
    image_tag: str
    parameters_path: str
    container: str
    port: int
    health_path: str
    health_timeout: int  # seconds
    websocket_path: str  # "" where the app has none
    data_path: str
    memory: str
    user: str  # "" for the image's own
    read_only: bool
    drain_seconds: int
    keep_images: int
    idle_minutes: int  # 0 for no limit
    metrics_namespace: str  # "" where no figures are published
    log_group: str  # "" where logs are not shipped
    watch_directory: str
    run_directory: str  # on tmpfs
    state_directory: str
    proxy_directory: str
    proxy_front: str  # address:port at which the proxy answers this host

    @property
    def environment_file(self) -> Path:
        """The container's variables, secrets among them, while it starts."""
        return Path(self.run_directory, "env")

    @property
    def status_file(self) -> Path:
        """What the host does now."""
        return Path(self.run_directory, "status.json")

    @property
    def serving_file(self) -> Path:
        """What of the serving container is not written on the container itself."""
        return Path(self.run_directory, "serving.json")

    @property
    def show_file(self) -> Path:
        """When the machine stops by itself."""
        return Path(self.run_directory, "show.json")

    @property
    def socket(self) -> Path:
        """Where the launcher takes requests."""
        return Path(self.run_directory, "control.sock")

    @property
    def lock_file(self) -> Path:
        """Who has a request under way."""
        return Path(self.run_directory, "lock")

    @property
    def state_file(self) -> Path:
        """Which images are good, which are not, and what happened."""
        return Path(self.state_directory, "state.json")

    @property
    def data_directory(self) -> Path:
        """The host's side of the container's data path: a link to the folder in use."""
        return Path(self.state_directory, "data")


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
        if config.user and not config.user.isdecimal():
            raise ValueError(f"user is {config.user!r}, not a number")
    except (OSError, ValueError, TypeError, DockerException) as error:
        raise ConfigError(f"{path} cannot be used: {error}. Configure the host again.") from error
    return config


@dataclasses.dataclass(frozen=True)
class Release:
    """One image which can be served."""

    image: str  # what Docker knows it by: registry/repository@digest
    digest: str
    version: str  # what it was built from, when its label says so; else the digest's first digits
    at: str = ""  # when it became a good one


@dataclasses.dataclass(frozen=True)
class Mark:
    """Why an image is not served again by itself."""

    digest: str
    version: str
    reason: str
    at: str
    withdrawn: bool = False  # it was healthy, but somebody rolled back from it


@dataclasses.dataclass(frozen=True)
class Event:
    """One line of the history."""

    at: str
    by: str
    action: str  # boot, release, restart, rollback, restore, show, repair
    version: str
    digest: str
    result: str  # served, failed, stopped
    reason: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class State:
    """What outlives a power cut. The best good image is the first; the newest event is the last."""

    good: tuple[Release, ...] = ()
    bad: tuple[Mark, ...] = ()
    history: tuple[Event, ...] = ()

    def with_good(self, release: Release, keep: int) -> "State":
        """The state once `release` serves: it is the best of at most `keep`, and no mark is left on it."""
        others = [good for good in self.good if good.digest != release.digest]
        good = (dataclasses.replace(release, at=now()), *others)[:keep]
        return dataclasses.replace(self, good=good, bad=self._unmarked(release.digest))

    def with_bad(self, release: Release, reason: str, withdrawn: bool = False) -> "State":
        """The state once `release` is not to be served again by itself."""
        mark = Mark(release.digest, release.version, reason, now(), withdrawn)
        return dataclasses.replace(
            self,
            good=tuple(good for good in self.good if good.digest != release.digest),
            bad=(*self._unmarked(release.digest), mark)[-HISTORY:],
        )

    def with_event(self, event: Event) -> "State":
        """The state with one more line of history."""
        return dataclasses.replace(self, history=(*self.history, event)[-HISTORY:])

    def mark(self, digest: str) -> Mark | None:
        """The mark on an image, if there is one."""
        return next((mark for mark in self.bad if mark.digest == digest), None)

    def _unmarked(self, digest: str) -> tuple[Mark, ...]:
        return tuple(mark for mark in self.bad if mark.digest != digest)


def copies_of(path: Path) -> tuple[Path, Path]:
    """The state file, and the same beside it, for the day on which the first is damaged."""
    return path, path.with_suffix(".copy")


def read_state(path: Path) -> State:
    """Read the state, or its copy; without either there is none, and the registry knows what is newest."""
    for file in copies_of(path):
        try:
            saved = json.loads(file.read_text())
            return State(
                tuple(Release(**good) for good in saved["good"]),
                tuple(Mark(**bad) for bad in saved["bad"]),
                tuple(Event(**event) for event in saved["history"]),
            )
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s is damaged and left aside: %s", file, error)
    return State()


def write_state(path: Path, state: State) -> None:
    """Replace the state in one step, so that a power cut leaves the old one or the new one.

    A full disk must not end a show: the state is then only in memory until the next change.
    """
    text = json.dumps(dataclasses.asdict(state), indent=1)
    try:
        for file in copies_of(path):
            replace_file(file, text)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error)


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
        os.fchmod(descriptor, mode)  # whatever the umask is
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


def now() -> str:
    """The time, as people and programs read it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
