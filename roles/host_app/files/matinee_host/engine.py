"""What the host has Docker do."""

import contextlib
import errno
import hashlib
import http.client
import os
import re
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path

import docker
from docker.errors import APIError, ContainerError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image
from docker.types import LogConfig, Mount
from requests import RequestException
from urllib3.exceptions import HTTPError

from matinee_host.cloud import CloudError, Registry
from matinee_host.model import Config, ImageError, LaunchError, Release, log, replace_file

VERSION_LABEL = "org.opencontainers.image.revision"
APP_LABEL = "matinee.app"  # on containers: the name of the app they are of
RELEASE_LABELS = {"image": "matinee.image", "digest": "matinee.digest", "version": "matinee.version"}
ENVIRONMENT_IN_CONTAINER = "/run/matinee/env"
UNPRIVILEGED_USER = "10001"  # in the place of root
STOP_TIMEOUT = 20  # seconds a container has to end by itself
PULL_TIMEOUT = 900  # a gigabyte on a slow line
LOG_LINES = 40
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "bWF0aW5lZSBpcyB3ZWxsPw==",
    "Sec-WebSocket-Version": "13",
}
CLOSE_FRAME = b"\x88\x82\0\0\0\0\x03\xe8"  # RFC 6455: a client's good-bye, with code 1000


class DiskFullError(CloudError):
    """There is no room for an image."""


def has_image(engine: docker.DockerClient, image: str) -> bool:
    """Whether Docker has `image` on this host."""
    try:
        engine.images.get(image)
    except ImageNotFound:
        return False
    return True


def pull(engine: docker.DockerClient, registry: Registry, image: str) -> None:
    """Bring an image to this host.

    Raises:
        DiskFullError: There is no room for it.
        CloudError: The registry did not give it.
    """
    deadline = time.monotonic() + PULL_TIMEOUT
    name, _, digest = image.partition("@")
    try:
        events = engine.api.pull(name, tag=digest, auth_config=registry.auth, stream=True, decode=True)
        for event in events:
            if "error" in event:
                raise _pull_error(image, event["error"])
            if time.monotonic() > deadline:
                raise CloudError(f"{image} cannot be pulled: it took longer than {PULL_TIMEOUT} s.")
    except APIError as error:
        raise _pull_error(image, str(error.explanation)) from error
    except (RequestException, HTTPError) as error:  # the stream stalled, or the engine went away
        raise CloudError(f"{image} cannot be pulled: {error}.") from error


def _pull_error(image: str, reason: str) -> CloudError:
    if os.strerror(errno.ENOSPC).lower() in reason.lower():
        return DiskFullError(f"The disk is full, so {image} cannot be pulled: {reason}.")
    return CloudError(f"{image} cannot be pulled: {reason}.")


def release_of(engine: docker.DockerClient, image: str, digest: str) -> Release:
    """What an image on this host is a release of."""
    version = engine.images.get(image).labels.get(VERSION_LABEL)
    return Release(image, digest, version or digest.removeprefix("sha256:")[:12])


def image_command(image: Image) -> list[str]:
    """What the image runs: its ENTRYPOINT and its CMD.

    Raises:
        ImageError: It has neither.
    """
    config = image.attrs["Config"]
    command = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    if not command:
        raise ImageError("The image has neither ENTRYPOINT nor CMD, so there is nothing to run.")
    return command


def other_user(config: Config, image: Image) -> str:
    """The number of the user to run as, where it is not the image's own: the configured one, or not root."""
    user = (image.attrs["Config"].get("User") or "").partition(":")[0]
    return config.user or (UNPRIVILEGED_USER if user in ("", "0", "root") else "")


def container_uid(config: Config, engine: docker.DockerClient, image: Image) -> int:
    """The number of the user the container is to run as.

    The image itself knows what a name stands for. It is asked in a container of the same name as the one to
    come, so that it is removed in any case.

    Raises:
        ImageError: It does not.
    """
    user = other_user(config, image) or image.attrs["Config"]["User"].partition(":")[0]
    if user.isdecimal():
        return int(user)
    name = next_name(config)
    remove_container(engine, name)
    try:
        answer = engine.containers.run(
            image,
            name=name,
            labels={APP_LABEL: config.container},
            entrypoint=["id", "-u"],
            network_disabled=True,
            cap_drop=["ALL"],
            log_config=LogConfig(type=LogConfig.types.JSON),  # the client reads the answer from no other log
            remove=True,
        )
        return int(answer)
    except (APIError, ContainerError, ValueError) as error:
        # A user whom the image does not know is what Docker calls a fault of its own
        if isinstance(error, APIError) and "unable to find user" not in str(error.explanation):
            raise _start_error(error) from error
        raise ImageError(f"The image does not say who its user {user!r} is: {error}") from error


def _start_error(error: APIError) -> LaunchError:
    """What Docker calls the caller's fault is the image's; what it calls its own may pass."""
    kind = ImageError if error.is_client_error() else LaunchError
    return kind(f"Docker cannot start the image: {error.explanation}")


def environment_text(parameters: Mapping[str, str]) -> str:
    r"""The parameters as a shell reads them.

    Example:
        >>> environment_text({"NAME": "it's\n$5"})
        'export NAME=\'it\'"\'"\'s\n$5\'\n'

    Raises:
        LaunchError: A name or a value cannot be an environment variable.
    """
    for name, value in parameters.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise LaunchError(f"The parameter {name!r} cannot be an environment variable; correct it in SSM.")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in parameters.items())


def way(config: Config) -> dict[str, str]:
    """How a container runs, apart from its image and its parameters."""
    keys = ("port", "data_path", "memory", "user", "read_only")
    return {key: str(getattr(config, key)) for key in keys}


def fingerprint(values: Mapping[str, str]) -> str:
    """Tell one set of values from another, without telling what they are."""
    return hashlib.sha256(environment_text(dict(sorted(values.items()))).encode()).hexdigest()


def write_environment(path: Path, parameters: Mapping[str, str], uid: int) -> None:
    """Write the parameters to `path`, on tmpfs, for the eyes of the container's user only."""
    replace_file(path, environment_text(parameters), owner=uid, mode=0o400)


def wrapper(command: list[str]) -> tuple[list[str], list[str]]:
    """The container's entry point and arguments: take the environment from the file, become `command`.

    Docker keeps what it is told of a container's environment on the disk, so it is not told.
    """
    script = f'. {ENVIRONMENT_IN_CONTAINER}; exec "$@"'
    return ["/bin/sh", "-c", script], ["sh", *command]


def next_name(config: Config) -> str:
    """The name of a container which is being tried."""
    return f"{config.container}-next"


def start_container(config: Config, engine: docker.DockerClient, release: Release, data: Path) -> Container:
    """Start a release, in the place of a container that a crash may have left.

    Raises:
        ImageError: There is nothing in it to run, or Docker cannot start it.
    """
    image = engine.images.get(release.image)
    entrypoint, command = wrapper(image_command(image))
    remove_container(engine, next_name(config))
    user = other_user(config, image)
    labels = {label: getattr(release, field) for field, label in RELEASE_LABELS.items()}
    try:
        container = engine.containers.create(
            image,
            name=next_name(config),
            labels=labels | {APP_LABEL: config.container},
            entrypoint=entrypoint,
            command=command,
            init=True,
            user=f"{user}:{user}" if user else None,
            environment={"HOME": "/tmp"} if user else None,  # noqa: S108 - theirs may be for root alone
            mounts=[
                Mount(ENVIRONMENT_IN_CONTAINER, str(config.environment_file), type="bind", read_only=True),
                Mount(config.data_path, str(data), type="bind"),
            ],
            read_only=config.read_only,
            tmpfs={"/tmp": "rw,nosuid,nodev,mode=1777"}  # noqa: S108 - inside the container
            if config.read_only
            else None,
            mem_limit=config.memory,
            memswap_limit=config.memory,  # no swap on top
            pids_limit=2048,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )
        container.start()
        container.reload()
    except APIError as error:
        raise _start_error(error) from error
    return container


def running_as(container: Container) -> int | None:
    """The number of the user a container runs as; None when it has ended.

    Source: Linux, proc_pid_status(5).
    """
    container.reload()
    try:
        status = Path(f"/proc/{container.attrs['State']['Pid']}/status").read_text()
    except OSError:
        return None
    return int(status.partition("\nUid:")[2].split()[0])


def address_of(container: Container) -> str:
    """The container's address on Docker's bridge; "" when it does not run."""
    networks = container.attrs["NetworkSettings"]["Networks"]
    return next((network["IPAddress"] for network in networks.values()), "")


def mounts_of(container: Container) -> set[Path]:
    """What of the host's files a container has."""
    return {Path(mount["Source"]) for mount in container.attrs["Mounts"]}


def containers_of(engine: docker.DockerClient, name: str) -> list[Container]:
    """Every container of the app, whatever it does."""
    return engine.containers.list(all=True, filters={"label": f"{APP_LABEL}={name}"}, ignore_removed=True)


def release_in(container: Container) -> Release:
    """The release a container runs."""
    return Release(**{field: container.labels[label] for field, label in RELEASE_LABELS.items()})


def remove_container(engine: docker.DockerClient, name: str) -> None:
    """Stop and remove the container of this name or id, if there is one."""
    with contextlib.suppress(NotFound):
        container = engine.containers.get(name)
        container.stop(timeout=STOP_TIMEOUT)
        try:
            container.remove(force=True)
        except APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            container.wait(condition="removed")  # somebody does it already


def why_not_well(config: Config, address: str) -> str | None:
    """Ask the app on its health path whether it is well.

    Returns:
        None when it is; else what it answered.
    """
    return _why_not(config, address, config.health_path, {}, range(200, 300))


def why_not_ready(config: Config, address: str) -> str | None:
    """Ask the app whether visitors may come: whether it is well, and takes websockets if it has any.

    Returns:
        None when it is; else what it answered.
    """
    reason = why_not_well(config, address)
    if reason or not config.websocket_path:
        return reason
    return _why_not(config, address, config.websocket_path, UPGRADE, [HTTPStatus.SWITCHING_PROTOCOLS])


def _why_not(
    config: Config, address: str, path: str, headers: Mapping[str, str], wanted: Collection[int]
) -> str | None:
    connection = http.client.HTTPConnection(address, config.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status == HTTPStatus.SWITCHING_PROTOCOLS and connection.sock:  # not closed already
            connection.sock.sendall(CLOSE_FRAME)
        response.read1()  # what is there of the answer, which need not end
    except (OSError, http.client.HTTPException) as error:
        return f"{path} did not answer: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if response.status in wanted else f"{path} answered {response.status}"


def wait_healthy(config: Config, container: Container, meanwhile: Callable[[], None]) -> str | None:
    """Wait until the app in a container is well.

    Args:
        config: How it is asked, and how long it has.
        container: It.
        meanwhile: Called again and again while it is waited for.

    Returns:
        None once it is; else why it is given up: it ended, or was not well in time.
    """
    deadline = time.monotonic() + config.health_timeout
    answer: str | None = "nothing was asked"
    while time.monotonic() < deadline:
        container.reload()
        if container.status != "running":
            return f"The container ended at once, {how_it_ended(container)}."
        answer = why_not_ready(config, address_of(container))
        if answer is None:
            return None
        meanwhile()
        time.sleep(0.2)
    return f"The container was not healthy within {config.health_timeout} s: {answer}."


def how_it_ended(container: Container) -> str:
    """How a container ended, as the end of a sentence."""
    state = container.attrs["State"]
    if state.get("OOMKilled"):
        return "killed for going over its memory limit"
    return f"with exit code {state['ExitCode']}"


def wait_engine(engine: docker.DockerClient, timeout: int) -> None:
    """Wait until Docker answers.

    Args:
        engine: Docker.
        timeout: Seconds it has.

    Raises:
        LaunchError: It did not in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            engine.ping()
            return
        except (DockerException, RequestException) as error:
            if time.monotonic() > deadline:
                raise LaunchError(f"Docker did not answer for {timeout} s: {error}") from error
        time.sleep(0.5)


def log_tail(container: Container) -> str:
    """The last lines the container logged."""
    return container.logs(tail=LOG_LINES).decode(errors="replace").rstrip()


def prune(engine: docker.DockerClient, repository: str, keep: Iterable[Release]) -> None:
    """Remove this repository's images which are not in `keep`; what cannot be removed stays.

    Args:
        engine: Docker.
        repository: Registry and repository; images of no other are touched.
        keep: The releases whose images are still needed.
    """
    kept = {release.image for release in keep}
    for image in engine.images.list():
        names = image.attrs.get("RepoDigests") or []
        ours = [name for name in names if name.startswith(f"{repository}@")]
        if ours and kept.isdisjoint(ours):
            try:
                engine.images.remove(ours[0])
                log.info("removed the old image %s", ours[0])
            except (DockerException, RequestException) as error:
                log.warning("the old image %s stays: %s", ours[0], error)
