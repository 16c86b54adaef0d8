"""The containers of the app, and which of them visitors are led to."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import docker
from docker.errors import DockerException, NotFound
from docker.models.containers import Container
from requests import RequestException

from matinee_host import data, engine
from matinee_host.background import in_background
from matinee_host.model import Config, ImageError, LaunchError, Release, replace_file
from matinee_host.proxy import Proxy, connections, visitors

TRIAL = 60  # seconds in which a new version that is not well gives way to the last good one
RELOAD_GRACE = 2  # seconds in which nginx's old workers may still take a visitor


@dataclasses.dataclass
class Serving:
    """The container which visitors are led to.

    Attributes:
        container: It.
        release: What it runs.
        address: Where nginx reaches it.
        way: Fingerprint of how it runs.
        parameters: Fingerprint of the parameters it was given.
        remark: Why it is not the newest, or lacks something.
        log: The last words of the container that is not served.
        trial_until: Monotonic time at which it is no longer new here.
        asked_at: When it was last asked whether it is well.
        strikes: How many times in a row it was not.
    """

    container: Container
    release: Release
    address: str
    way: str = ""
    parameters: str = ""
    remark: str = ""
    log: str = ""
    trial_until: float = 0.0
    asked_at: float = 0.0
    strikes: int = 0

    @property
    def on_trial(self) -> bool:
        """Whether it is new here."""
        return time.monotonic() < self.trial_until


@dataclasses.dataclass(frozen=True)
class Leaving:
    """A container which visitors are leaving."""

    container: Container
    address: str
    not_before: float
    deadline: float


class Stage:
    """What is on stage, and what leaves it.

    Args:
        config: The host's configuration.
        client: Docker.
    """

    def __init__(self, config: Config, client: docker.DockerClient) -> None:
        self.config = config
        self.client = client
        self.proxy = Proxy(config)
        self.serving: Serving | None = None
        self.leaving: list[Leaving] = []
        self.still = False  # whether a copy of the data is being made

    def way(self, folder: Path | None = None) -> str:
        """The fingerprint of how a container would run now, with the data in `folder` or those in use."""
        folder = folder or data.data_folder(self.config.data_directory)
        return engine.fingerprint(engine.way(self.config) | {"data": folder.name})

    def adopt(self) -> None:
        """Take over the container that visitors are led to; remove every other one of the app."""
        target = self.proxy.serving()
        for container in engine.containers_of(self.client, self.config.container):
            if container.id != target or container.status not in ("running", "paused"):
                self._remove(container)
                continue
            if container.status == "paused":
                container.unpause()
            release, address = engine.release_in(container), engine.address_of(container)
            self.serving = Serving(container, release, address)
            with contextlib.suppress(
                OSError, ValueError, TypeError, KeyError
            ):  # TypeError: another version's
                remembered = json.loads(self.config.serving_file.read_text())
                if remembered.pop("container") == container.id:
                    self.serving = Serving(container, release, address, **remembered)
        if self.serving is None:
            self.proxy.hold()
        else:
            serving = self.serving
            with contextlib.suppress(
                LaunchError
            ):  # where nginx does not run, it reads its file when it starts
                self.proxy.lead_to(serving.address, str(serving.container.id))
            self._name(serving.container, None)

    def put_on(
        self,
        release: Release,
        parameters: Mapping[str, str],
        step: Callable[[str], None],
        trial: bool,
        other_data: Path | None = None,
    ) -> None:
        """The swap: start a release beside what serves, and lead visitors to it once it is healthy.

        Args:
            release: An image on this host.
            parameters: Its variables.
            step: Called with what is being done.
            trial: Whether it is new here.
            other_data: The folder to have its data in from now on, if not the one in use.

        Raises:
            ImageError: It does not become healthy. What served before still serves.
            LaunchError: It could not be tried. What served before still serves.
        """
        before, container = self.serving, None
        link, file = self.config.data_directory, self.config.environment_file
        in_use = data.data_folder(link)
        folder = other_data or in_use
        step("starting")
        uid = engine.container_uid(self.config, self.client, self.client.images.get(release.image))
        # Not whose the folder is: a trial that was cut short may have given it away
        owner = engine.running_as(before.container) if before else None
        try:
            data.give(folder, uid)
            engine.write_environment(file, parameters, uid)
            container = engine.start_container(self.config, self.client, release, folder)
            step("checking")
            if reason := engine.wait_healthy(self.config, container, self.look_after_leaving):
                raise ImageError(reason, engine.log_tail(container))
            step("switching")
            serving = Serving(
                container,
                release,
                engine.address_of(container),
                self.way(folder),
                engine.fingerprint(parameters),
                trial_until=time.monotonic() + TRIAL if trial else 0.0,
            )
            self._remember(serving)
            if folder != in_use:
                data.use_folder(link, folder)
            self.proxy.lead_to(serving.address, str(container.id))
            if reason := engine.why_not_well(self.config, serving.address):
                raise ImageError(
                    f"The container was healthy only until visitors came: {reason}.",
                    engine.log_tail(container),
                )
        except Exception:
            if container:
                self._take_off(container, before)
            if data.data_folder(link) != in_use:
                data.use_folder(link, in_use)
            if owner is not None:
                data.give(in_use, owner)
            raise
        finally:
            file.unlink(missing_ok=True)  # the container has read it
        self.serving = serving
        self._name(container, before)

    def look_after_leaving(self) -> None:
        """Stop the containers that nobody is connected to any more, or that have had their time."""
        for leaving in list(self.leaving):
            now, address = time.monotonic(), leaving.address
            if now > leaving.deadline or (now > leaving.not_before and not connections(self.config, address)):
                self.leaving.remove(leaving)
                self._remove(leaving.container)

    def visitors(self) -> int:
        """How many connections visitors have open."""
        return visitors(self.config, self.serving.address if self.serving else "")

    def drop(self) -> None:
        """Lead visitors to the holding page; remove what served."""
        self.proxy.hold()
        if self.serving:
            self._remove(self.serving.container)
            self.serving = None

    def remark(self, remark: str, log: str = "") -> None:
        """Note why what serves is not what was wanted, or ("") that it is."""
        if self.serving:
            self.serving.log = (log or self.serving.log) if remark else ""
            self.serving.remark = remark
            self._remember(self.serving)

    def remove_others(self) -> bool:
        """Remove every container of the app but the one that serves; say whether there was any."""
        serving = self.serving and self.serving.container.id
        containers = engine.containers_of(self.client, self.config.container)
        others = [container for container in containers if container.id != serving]
        for container in others:
            self._remove(container)
        return bool(others)

    def clear(self) -> None:
        """End everything, in good order."""
        self.proxy.hold()
        for container in engine.containers_of(self.client, self.config.container):
            engine.remove_container(self.client, str(container.id))
        for file in (self.config.environment_file, self.config.serving_file):
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def standstill(self) -> Iterator[Path]:
        """Nothing changes in the data folder, which this gives; what visitors ask meanwhile waits."""
        paused = []
        self.still = True
        try:
            for container in engine.containers_of(self.client, self.config.container):
                if container.status == "running":
                    container.pause()
                    paused.append(container)
            yield data.data_folder(self.config.data_directory)
        finally:
            self.still = False
            for container in paused:
                with contextlib.suppress(DockerException, RequestException):  # then it is seen to later
                    container.unpause()

    def _take_off(self, container: Container, before: Serving | None) -> None:
        if self.proxy.serving() == container.id:
            if before:
                self._remember(before)
                with contextlib.suppress(LaunchError):  # where nginx does not run, it reads its file later
                    self.proxy.lead_to(before.address, str(before.container.id))
            else:
                self.proxy.hold()
        engine.remove_container(self.client, str(container.id))

    def _name(self, serving: Container, before: Serving | None) -> None:
        """Give each container the name of its part; let visitors leave the one before."""
        with contextlib.suppress(NotFound):
            found = self.client.containers.get(self.config.container)
            if found.id != serving.id:
                found.rename(f"{self.config.container}-old-{found.short_id}")
        if before:
            leave_at = time.monotonic() + RELOAD_GRACE
            deadline = leave_at + self.config.drain_seconds
            self.leaving.append(Leaving(before.container, before.address, leave_at, deadline))
        serving.reload()
        if serving.name != self.config.container:
            serving.rename(self.config.container)

    def _remove(self, container: Container) -> None:
        """Have a container end in its own time."""
        in_background(lambda: engine.remove_container(self.client, str(container.id)))

    def _remember(self, serving: Serving) -> None:
        """Write down what is not written on the container itself, on tmpfs: it tells of secrets."""
        fields = ("way", "parameters", "remark", "log", "trial_until")
        values = {"container": serving.container.id} | {field: getattr(serving, field) for field in fields}
        replace_file(self.config.serving_file, json.dumps(values))
