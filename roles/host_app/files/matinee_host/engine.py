"""What the host has Docker do."""

import contextlib
import dataclasses
import hashlib
import http.client
import os
import re
import shlex
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import docker
from docker.errors import APIError, ContainerError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image
from docker.types import LogConfig, Mount
from requests import RequestException

from matinee_host.cloud import CloudError, Registry
from matinee_host.model import (
    Config,
    ExitCode,
    LaunchError,
    Release,
    State,
    Status,
    log,
    replace_file,
    report,
)

VERSION_LABEL = "org.opencontainers.image.revision"
ENVIRONMENT_IN_CONTAINER = "/run/matinee/env"
STOP_TIMEOUT = 20  # seconds a container has to end by itself
LOG_LINES = 40


class ImageError(LaunchError):
    """The image cannot be run; trying again would not help."""

    exit_code = ExitCode.BAD_IMAGE


def has_image(engine: docker.DockerClient, image: str) -> bool:
    """Whether Docker has `image` on this host."""
    try:
        engine.images.get(image)
    except ImageNotFound:
        return False
    return True


def ensure_image(config: Config, engine: docker.DockerClient, registry: Registry, digest: str) -> Release:
    """Have the image with this digest on the host; it is pulled only if it is absent.

    Raises:
        CloudError: The registry did not give it.
    """
    name = f"{registry.host}/{config.repository}"
    release = Release(f"{name}@{digest}", digest, version=None)
    if not has_image(engine, release.image):
        report(config, Status.of("pulling", release))
        try:
            for event in engine.api.pull(
                name, tag=digest, auth_config=registry.auth, stream=True, decode=True
            ):
                if "error" in event:
                    raise CloudError(f"{release.image} cannot be pulled: {event['error']}.")
        except APIError as error:
            raise CloudError(f"{release.image} cannot be pulled: {error.explanation}.") from error
        except RequestException as error:  # the stream stalled, or the engine went away
            raise CloudError(f"{release.image} cannot be pulled: {error}.") from error
    labels = engine.images.get(release.image).labels
    return dataclasses.replace(release, version=labels.get(VERSION_LABEL))


def last_good(state: State, is_present: Callable[[str], bool]) -> Release | None:
    """The image which was healthy last and is still on this host."""
    return next((release for release in state.releases if is_present(release.image)), None)


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


def image_uid(config: Config, engine: docker.DockerClient, image: Image) -> int:
    """The number of the user the image runs as; the image itself knows what a name stands for.

    It is asked in a container of the same name as the one to come, so that it is removed in any case.

    Raises:
        ImageError: It does not.
    """
    user = (image.attrs["Config"].get("User") or "0").partition(":")[0]
    if user.isdecimal():
        return int(user)
    remove_container(engine, config.container)
    try:
        answer = engine.containers.run(
            image,
            name=config.container,
            entrypoint=["id", "-u"],
            network_disabled=True,
            cap_drop=["ALL"],
            log_config=LogConfig(type=LogConfig.types.JSON),  # the client reads the answer from no other log
            remove=True,
        )
        return int(answer)
    except (APIError, ContainerError, ValueError) as error:
        raise ImageError(f"The image does not say who its user {user!r} is: {error}") from error


def give_data(directory: Path, uid: int) -> None:
    """Have the data directory, owned with all it holds by the user of the image."""
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != uid:
        for path in directory.rglob("*"):
            os.chown(path, uid, -1, follow_symlinks=False)
        os.chown(directory, uid, -1)  # last, so that what is cut short is done again


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


def fingerprint(parameters: Mapping[str, str]) -> str:
    """Tell one set of parameters from another, without telling what they are."""
    return hashlib.sha256(environment_text(dict(sorted(parameters.items()))).encode()).hexdigest()


def write_environment(path: Path, parameters: Mapping[str, str], uid: int) -> None:
    """Write the parameters to `path`, on tmpfs, for the eyes of the container's user only."""
    replace_file(path, environment_text(parameters), owner=uid, mode=0o400)


def wrapper(command: list[str]) -> tuple[list[str], list[str]]:
    """The container's entry point and arguments: take the environment from the file, become `command`.

    Docker keeps what it is told of a container's environment on the disk, so it is not told.
    """
    script = f'. {ENVIRONMENT_IN_CONTAINER}; exec "$@"'
    return ["/bin/sh", "-c", script], ["sh", *command]


def run_container(config: Config, engine: docker.DockerClient, image: Image) -> Container:
    """Start the image, in the place of a container that a crash may have left.

    Raises:
        ImageError: There is nothing in it to run.
    """
    entrypoint, command = wrapper(image_command(image))
    remove_container(engine, config.container)
    container = engine.containers.create(
        image,
        name=config.container,
        entrypoint=entrypoint,
        command=command,
        init=True,
        ports={f"{config.port}/tcp": config.listen_port},
        mounts=[
            Mount(ENVIRONMENT_IN_CONTAINER, str(config.environment_file), type="bind", read_only=True),
            Mount(config.data_path, str(config.data_directory), type="bind"),
        ],
        mem_limit=config.memory,
        memswap_limit=config.memory,  # no swap on top
        pids_limit=2048,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
    )
    container.start()
    return container


def remove_container(engine: docker.DockerClient, name: str) -> None:
    """Stop and remove the container of this name, if there is one."""
    with contextlib.suppress(NotFound):
        container = engine.containers.get(name)
        container.stop(timeout=STOP_TIMEOUT)
        container.remove(force=True)


def wait_healthy(container: Container, url: str, timeout: int) -> str | None:
    """Wait until the container answers 2xx at `url`.

    Args:
        container: A container which was started.
        url: Where to ask.
        timeout: Seconds it has.

    Returns:
        None once it does; else why it is given up: it ended, or it did not answer well in time.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout
    answer = "nothing"
    while time.monotonic() < deadline:
        container.reload()
        if container.status != "running":
            return f"The container ended at once, {how_it_ended(container)}."
        try:
            with opener.open(url, timeout=5):
                return None
        except (OSError, http.client.HTTPException) as error:
            answer = str(error)
        time.sleep(0.3)
    return f"The container was not healthy within {timeout} s; {url} last answered: {answer}."


def how_it_ended(container: Container) -> str:
    """How a container ended, as the end of a sentence."""
    state = container.attrs["State"]
    if state.get("OOMKilled"):
        return "killed for going over its memory limit"
    return f"with exit code {state['ExitCode']}"


def wait_end(engine: docker.DockerClient, container: Container) -> str:
    """Wait until the container has ended, over restarts of Docker, which leave it running.

    Returns:
        How it ended, as the end of a sentence.
    """
    while True:
        with contextlib.suppress(DockerException, RequestException):
            container.wait(timeout=None)
        wait_engine(engine, timeout=120)
        try:
            container.reload()
        except NotFound:
            return "removed by someone"
        if container.status != "running":
            return how_it_ended(container)


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


def prune(engine: docker.DockerClient, keep: list[Release]) -> None:
    """Remove this repository's images which are not in `keep`; what cannot be removed stays."""
    kept = {release.image for release in keep}
    repositories = tuple({release.image.partition("@")[0] + "@" for release in keep})
    for image in engine.images.list():
        ours = [digest for digest in image.attrs.get("RepoDigests") or [] if digest.startswith(repositories)]
        if ours and kept.isdisjoint(ours):
            try:
                engine.images.remove(ours[0])
                log.info("removed the old image %s", ours[0])
            except (DockerException, RequestException) as error:
                log.warning("the old image %s stays: %s", ours[0], error)
