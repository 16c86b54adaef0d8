"""What runs on the host: it brings the newest good image on stage, watches it, and does as it is asked.

Nothing it needs is in memory alone. Killed at any point and started again, it takes over the container that
visitors are led to as it runs, removes every other one, and goes on.
"""

import contextlib
import dataclasses
import select
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, NotFound
from requests import RequestException

from matinee_host import data, engine
from matinee_host.background import in_background
from matinee_host.backup import back_up, fetch
from matinee_host.cloud import Cloud, CloudError
from matinee_host.control import Request, answer, listen, receive
from matinee_host.model import (
    Config,
    Event,
    ImageError,
    LaunchError,
    Mark,
    NoImageError,
    Release,
    State,
    log,
    now,
    read_state,
    write_state,
)
from matinee_host.show import Show
from matinee_host.stage import Serving, Stage
from matinee_host.status import Status, notify, read_status, report

TICK = 0.5  # seconds between two looks at what serves
LOOK_AGAIN = 15  # seconds between two tries to do better than what serves after a start
PATIENCE = 15  # seconds a start waits for a pull before the last good image serves meanwhile
HEALTH_INTERVAL = {True: 2, False: 10}  # seconds between two looks at its health: on trial, later
HEALTH_STRIKES = 3  # that many times not well in a row is not well
TIDY_AGAIN = 2  # seconds in which a container may be gone whose image is no longer needed
FALLS = 3  # after that many ends within ten minutes, another good image is tried first
ENGINE_TIMEOUT = 120  # seconds in which Docker must answer
FORESEEN = (DockerException, RequestException, OSError, subprocess.CalledProcessError)


class Supervisor:
    """The launcher's program.

    Args:
        config: The host's configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.client = docker.from_env(timeout=ENGINE_TIMEOUT)
        self.stage = Stage(config, self.client)
        self.show = Show.load(config)
        self.state = read_state(config.state_file)
        self.status = read_status(config.status_file)
        self.parameters: dict[str, str] | None = None  # the last ones that were read
        self.tried: Release | None = None  # by what is under way
        self.look_at: float | None = None
        self.falls: list[tuple[str, float]] = []
        self.tidy_at: float | None = 0.0  # when to remove what no rollback needs
        self.reload = False

    def run(self) -> None:
        """Serve until somebody asks for another program (`reload`)."""
        with listen(self.config.socket) as requests:
            notify("READY=1")
            engine.wait_engine(self.client, ENGINE_TIMEOUT)
            interrupted = bool(self.status.step)
            self.stage.adopt()
            serving = self.stage.serving
            if serving is None or interrupted:
                self.start()
            elif serving.way != self.stage.way():
                self.start(lambda: self.serve_otherwise(serving.release))
            self.show.seen()  # whoever has started it waits for this
            while not self.reload:
                self.tick()
                self.tidy_up()
                if self.look_at is not None and time.monotonic() > self.look_at:
                    self.start()
                ready, _, _ = select.select([requests], [], [], TICK)
                if ready:
                    self.handle(requests)

    def end(self) -> None:
        """Stop what serves, in good order."""
        self.stage.clear()
        self.tell(Status("stopped"))

    # What is asked for

    def handle(self, requests: socket.socket) -> None:
        """Do one thing somebody asks for, and answer."""
        connection, _ = requests.accept()
        with connection:
            request = receive(connection)
            if request is None:
                return
            actions: dict[str, Callable[[Request], dict[str, Any]]] = {
                "release": self.release,
                "restart": self.restart,
                "rollback": self.roll_back,
                "backup": self.back_up,
                "restore": self.restore,
                "show": self.set_show,
            }
            try:
                reply = {"exit_code": 0, "result": actions[request.action](request)}
            except Exception as raised:
                error = launch_error(raised)
                tail = error.container_log or self.status.log
                reply = {"exit_code": error.exit_code, "reason": str(error), "log": tail}
            self.show.seen()
            answer(connection, reply)

    def release(self, request: Request) -> dict[str, Any]:
        """Serve the newest pushed image."""
        return self.attempt(request.by, "release", lambda: self.serve_newest(again=request.again))

    def restart(self, request: Request) -> dict[str, Any]:
        """Serve the same with the parameters as they are now; where nothing is served, the newest."""
        serving, before = self.stage.serving, self.parameters

        def again() -> None:
            if serving is None:
                self.serve_newest(again=True)
                return
            self.parameters = Cloud(self.config.region).read_parameters(self.config.parameters_path)
            if not self.is_as_wanted(serving):
                self.serve(serving.release, serving.remark)

        try:
            return self.attempt(request.by, "restart", again)
        except LaunchError:
            self.parameters = before  # with which it goes on, should it fall
            raise

    def roll_back(self, request: Request) -> dict[str, Any]:
        """Serve the previous good version, or a named one; what was served is marked."""
        if self.stage.serving is None:
            raise LaunchError("Nothing is served, so there is nothing to roll back from.")
        left, who = self.stage.serving.release, request.by or "somebody"
        release = self.rollback_target(request.version, left)
        if release.digest == left.digest:
            return {"changed": False}
        before, known = self.state, self.is_good(release)
        # Marked first: whatever happens from here on, the next start keeps to it
        mark = before.mark(release.digest)
        forward = mark is not None and mark.withdrawn  # what is left is no worse than before
        marked = before if forward else before.with_bad(left, f"{who} rolled back from it.", withdrawn=True)
        self.save(marked.with_good(release, self.config.keep_images))
        reason = f"{who} rolled back from {left.version}."

        def go_back() -> None:
            self.serve(release, trial=not known)
            self.stage.remark(reason)

        try:
            return self.attempt(request.by, "rollback", go_back, reason)
        except LaunchError as error:
            kept = dataclasses.replace(before, history=self.state.history)
            bad = isinstance(error, ImageError)
            self.save(kept.with_bad(release, str(error)) if bad else kept)
            raise

    def rollback_target(self, version: str, left: Release) -> Release:
        """The release to go back to, on this host."""
        cloud = Cloud(self.config.region)
        if version:
            for good in self.state.good:  # the registry may have let go of it
                if good.version[:12] == version[:12] and engine.has_image(self.client, good.image):
                    return good
            digest = cloud.digest_of(self.config.repository, version[:12])  # tags have twelve of its digits
            if digest is None:
                known = ", ".join(good.version for good in self.state.good)
                raise LaunchError(
                    f"{self.config.repository} has no version {version}. On this host are: {known or 'none'}."
                )
            return self.pulled(cloud, digest)
        for good in self.state.good:
            if good.digest != left.digest:
                here = engine.has_image(self.client, good.image)
                return good if here else self.pulled(cloud, good.digest)
        raise LaunchError(
            f"There is nothing to roll back to: {left.version} is the only good version known here. "
            "Name a version that was pushed, or push a better one."
        )

    def back_up(self, request: Request) -> dict[str, Any]:
        """Copy the data to a bucket."""
        return self.meanwhile(lambda: back_up(self.config, self.stage, request.bucket))

    def restore(self, request: Request) -> dict[str, Any]:
        """Serve with the data of a backup; with those there were, if that fails."""
        try:
            name, folder = self.meanwhile(lambda: fetch(self.config, request.bucket, request.backup))
            serving = self.stage.serving
            release = serving.release if serving else next(iter(self.state.good), None)
            if release is None:
                raise LaunchError("No version has been served yet. Release one first, then restore its data.")
            result = self.attempt(
                request.by, "restore", lambda: self.serve_otherwise(release, folder), f"Data of {name}."
            )
        finally:
            self.tidy_at = time.monotonic()
        return result | {"backup": name}

    def set_show(self, request: Request) -> dict[str, Any]:
        """Change when the machine stops by itself."""
        self.show = self.show.changed(request.hours, request.idle_minutes, request.even_if_watched)
        self.show.save(self.config)
        return self.show.described()

    # What is served

    def start(self, work: Callable[[], None] | None = None) -> None:
        """Serve the newest good image after a start; try again later what may pass."""
        self.look_at = None
        try:
            self.attempt("boot", "boot", work or self.serve_newest)
        except ImageError as error:
            log.warning("%s", error)  # never tried again by itself
        except LaunchError as error:
            log.warning("%s", error)
            self.look_at = time.monotonic() + LOOK_AGAIN

    def attempt(self, by: str, action: str, work: Callable[[], None], remark: str = "") -> dict[str, Any]:
        """Do something to what is served, and write down how it went.

        Returns:
            Whether something changed.

        Raises:
            LaunchError: It failed; what serves, if anything does, is in the status.
        """
        started, before = time.monotonic(), self.stage.serving
        self.tried = None
        error: LaunchError | None = None
        try:
            work()
        except Exception as raised:
            error = launch_error(raised)
        changed = self.stage.serving is not before
        release = self.tried or (self.stage.serving and self.stage.serving.release)
        event = Event(
            at=now(),
            by=by,
            action=action,
            version=release.version if release else "",
            digest=release.digest if release else "",
            result="failed" if error else "served",
            reason=str(error or remark),
            seconds=round(time.monotonic() - started, 1),
        )
        last = self.state.history[-1] if self.state.history else None
        told = last and (last.action, last.result, last.reason) == (action, "failed", event.reason)
        if action == "boot" and isinstance(error, NoImageError):
            told = True  # a new host, with nothing to tell of yet
        if (error or changed) and not told:
            self.save(self.state.with_event(event))
        if error:
            self.stage.remark(str(error), error.container_log)
        self.tell(self.standing(error))
        if error:
            raise error
        return {"changed": changed}

    def serve_newest(self, again: bool = False) -> None:
        """Serve the newest pushed image, or the last good one.

        Args:
            again: Also when it has failed before.

        Raises:
            LaunchError: It is not the newest that is served.
        """
        mark: Mark | None = None
        try:
            if self.status.state in ("starting", "stopped"):
                self.step("looking")
            cloud = Cloud(self.config.region)
            digest = cloud.digest_of(self.config.repository, self.config.image_tag)
            if digest is None:
                raise NoImageError(f"No image has been pushed to {self.config.repository} yet.")
            mark = self.state.mark(digest)
            if mark and not again:
                self.tried = Release("", digest, mark.version)
                raise ImageError(
                    f"Version {mark.version} is newer, but: {mark.reason} To try it all the same: "
                    "release.yml -e again=true."
                )
            self.serve_digest(cloud, digest)
        except Exception as raised:
            problem, serving = launch_error(raised), self.stage.serving
            if serving is None or self.state.mark(serving.release.digest):
                self.serve_good(str(problem))
            if mark and mark.withdrawn and self.stage.serving:
                self.stage.remark(str(problem))
                return  # as somebody wanted it
            raise problem from raised

    def serve_digest(self, cloud: Cloud, digest: str) -> None:
        """Serve an image with the parameters as they are now."""
        lacking: CloudError | None = None
        try:
            self.parameters = cloud.read_parameters(self.config.parameters_path)
        except CloudError as error:
            if self.stage.serving:
                raise  # it has its parameters
            lacking = error
        serving = self.stage.serving
        if serving and serving.release.digest == digest and self.is_as_wanted(serving):
            self.stage.remark("")
            return
        release = self.pulled(cloud, digest)
        try:
            self.serve(release)
        except ImageError as error:
            if self.parameters is None or self.is_good(release):
                # For want of its parameters, or for what has changed since it was well
                raise LaunchError(str(error), error.container_log) from error
            self.save(self.state.with_bad(release, str(error)))
            raise
        if lacking:
            raise CloudError(f"It runs without its newest parameters: {lacking}")

    def pulled(self, cloud: Cloud, digest: str) -> Release:
        """Have an image on this host; it is pulled only if it is absent."""
        registry = cloud.registry()
        repository = f"{registry.host}/{self.config.repository}"
        image = f"{repository}@{digest}"
        if not engine.has_image(self.client, image):
            self.step("pulling", digest.removeprefix("sha256:")[:12])
            try:
                self.meanwhile(lambda: engine.pull(self.client, registry, image), impatient=True)
            except engine.DiskFullError:
                self.prune(repository)
                self.meanwhile(lambda: engine.pull(self.client, registry, image), impatient=True)
        return engine.release_of(self.client, image, digest)

    def serve_good(self, remark: str, plain: str = "") -> None:
        """Serve the best good image that is still here, if any.

        Args:
            remark: Why it is not another.
            plain: Digest of the image of which there is nothing to remark.
        """
        serving = self.stage.serving and self.stage.serving.release.digest
        recent = [digest for digest, at in self.falls if at > time.monotonic() - 600]
        tried = self.tried and self.tried.digest

        def is_doubtful(release: Release) -> bool:
            return release.digest == tried or recent.count(release.digest) >= FALLS

        for release in sorted(self.state.good, key=is_doubtful):
            if release.digest == serving:
                return
            if not engine.has_image(self.client, release.image):
                continue
            try:
                self.serve(release, "" if release.digest == plain else remark)
                return
            except Exception as raised:
                log.warning("%s does not serve either: %s", release.version, launch_error(raised))

    def serve_otherwise(self, release: Release, other_data: Path | None = None) -> None:
        """Start what serves anew, beside itself, because how it is to run has changed."""
        self.parameters = Cloud(self.config.region).read_parameters(self.config.parameters_path)
        remark = self.stage.serving.remark if self.stage.serving else ""
        self.serve(release, remark, other_data=other_data)

    def serve(
        self,
        release: Release,
        remark: str = "",
        trial: bool | None = None,
        other_data: Path | None = None,
    ) -> None:
        """Put a release on stage.

        Args:
            release: An image on this host.
            remark: Why it is not another; without one it is the best there is.
            trial: Whether it is new here; None to know it by the state.
            other_data: The folder of its data from now on, if not the one in use.
        """
        if self.parameters is None:
            try:
                self.parameters = Cloud(self.config.region).read_parameters(self.config.parameters_path)
            except CloudError as error:
                remark = remark or f"It runs without its parameters: {error}"
                self.look_at = time.monotonic() + LOOK_AGAIN
        self.tried = release
        self.stage.put_on(
            release,
            self.parameters or {},
            lambda step: self.step(step, release.version, remark),
            not self.is_good(release) if trial is None else trial,
            other_data,
        )
        if remark:
            self.stage.remark(remark)
        else:
            self.save(self.state.with_good(release, self.config.keep_images))
        self.tidy_at = time.monotonic()
        self.tell(self.standing())

    def is_as_wanted(self, serving: Serving) -> bool:
        """Whether it runs as it would now, with the parameters as they are now."""
        wanted = (self.stage.way(), engine.fingerprint(self.parameters or {}))
        return (serving.way, serving.parameters) == wanted

    def is_good(self, release: Release) -> bool:
        """Whether a release has been healthy on this host, and was not given up since."""
        return any(good.digest == release.digest for good in self.state.good)

    # What happens by itself

    def tick(self, busy: bool = False) -> None:
        """Look after what serves, what leaves, and, unless something is under way, the clock."""
        self.stage.look_after_leaving()
        if self.stage.visitors():
            self.show.seen()
        if not busy and self.show.is_over():
            self.power_off()
        if serving := self.stage.serving:
            self.watch(serving)

    def watch(self, serving: Serving) -> None:
        """See to it that what serves is alive and well."""
        container = serving.container
        try:
            container.reload()
            if container.status == "paused":
                if not self.stage.still:
                    container.unpause()  # which a restart of Docker had kept from it
                return
            if container.status != "running":
                how = engine.how_it_ended(container)
                self.repair(serving, f"The container ended, {how}.", engine.log_tail(container))
                return
        except NotFound:
            self.repair(serving, "The container was removed by someone.", "")
            return
        except (DockerException, RequestException):
            engine.wait_engine(self.client, ENGINE_TIMEOUT)
            return
        if time.monotonic() - serving.asked_at < HEALTH_INTERVAL[serving.on_trial]:
            return
        reason = engine.why_not_well(self.config, serving.address)
        serving.asked_at = time.monotonic()
        serving.strikes = serving.strikes + 1 if reason else 0
        if serving.strikes >= HEALTH_STRIKES:
            self.repair(serving, f"It was no longer well: {reason}.", engine.log_tail(container))

    def repair(self, fallen: Serving, reason: str, tail: str) -> None:
        """Serve again after the container has fallen; a new version gives way to the last good one."""
        release = fallen.release
        self.stage.drop()
        self.falls.append((release.digest, time.monotonic()))
        problem = LaunchError(reason, tail)
        if fallen.on_trial and any(good.digest != release.digest for good in self.state.good):
            problem = ImageError(f"Version {release.version} served only for a moment: {reason}", tail)
            self.save(self.state.with_bad(release, str(problem)))

        def again() -> None:
            self.serve_good(str(problem), plain=release.digest)
            serving = self.stage.serving
            if serving is None or serving.release.digest != release.digest:
                raise problem
            self.stage.remark(fallen.remark, fallen.log)

        try:
            self.attempt("matinee", "repair", again, reason)
        except LaunchError as error:
            log.warning("%s", error)
            if self.stage.serving is None:
                self.look_at = time.monotonic() + LOOK_AGAIN

    def power_off(self) -> None:
        """Stop the machine: the show is over."""
        reason = self.show.reason()
        log.info("%s", reason)
        self.save(self.state.with_event(Event(now(), "matinee", "show", "", "", "stopped", reason, 0.0)))
        subprocess.run(["/usr/bin/systemctl", "poweroff"], check=False)
        time.sleep(60)  # systemd ends this process first

    def tidy_up(self) -> None:
        """Remove what no rollback needs, once all is quiet; a failure to do so is none of the release.

        Never while something is under way: images and data that are not in use yet look like old ones.
        """
        serving = self.stage.serving
        if serving is None or self.stage.leaving or self.tidy_at is None or time.monotonic() < self.tidy_at:
            return
        with contextlib.suppress(DockerException, RequestException, OSError):
            self.tidy_at = None
            if self.stage.remove_others():
                self.tidy_at = time.monotonic() + TIDY_AGAIN
                return
            self.prune(serving.release.image.partition("@")[0])
            data.remove_scratch(Path(self.config.state_directory))
            data.remove_unused(self.config.data_directory, engine.mounts_of(serving.container))

    def prune(self, repository: str) -> None:
        """Remove every image of the repository that is no good one."""
        serving = [self.stage.serving.release] if self.stage.serving else []
        engine.prune(self.client, repository, [*self.state.good, *serving])

    def meanwhile[T](self, work: Callable[[], T], impatient: bool = False) -> T:
        """Do slow work in a thread, and look after what serves.

        Args:
            work: What takes its time.
            impatient: When nothing serves and it takes too long, the last good image takes over.
        """
        future, patience_ends = in_background(work), time.monotonic() + PATIENCE
        while not wait([future], timeout=0.1).done:
            self.tick(busy=True)
            if impatient and self.stage.serving is None and time.monotonic() > patience_ends:
                self.serve_good("The newest version is on its way.")
                patience_ends += engine.PULL_TIMEOUT
        return future.result()

    # What is remembered and said

    def save(self, state: State) -> None:
        """Remember, over power cuts too."""
        self.state = state
        write_state(self.config.state_file, state)

    def step(self, step: str, candidate: str = "", reason: str = "") -> None:
        """Say what goes on, beside what is served."""
        standing = self.standing()
        reason = reason or standing.reason
        self.tell(dataclasses.replace(standing, step=step, candidate=candidate, reason=reason))

    def standing(self, error: LaunchError | None = None) -> Status:
        """What the host does now."""
        if serving := self.stage.serving:
            return Status.serving(serving.release, serving.remark, serving.log)
        if error is None:
            return Status("starting")
        state = "no-image" if isinstance(error, NoImageError) else "failed"
        return Status(state, reason=str(error), log=error.container_log)

    def tell(self, status: Status) -> None:
        """Say it, where it has changed."""
        if (status.state, status.digest) == (self.status.state, self.status.digest):
            status = dataclasses.replace(status, since=self.status.since)
        if status != self.status:
            self.status = status
            report(self.config, status)


def launch_error(error: Exception) -> LaunchError:
    """Any failure, in words for the person who asked; not even one that nobody foresaw ends the show."""
    if isinstance(error, LaunchError):
        return error
    if isinstance(error, FORESEEN):
        return LaunchError(str(error))
    log.error("This should not have happened:", exc_info=error)
    return LaunchError(f"{type(error).__name__}: {error}")
