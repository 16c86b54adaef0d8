# SPDX-License-Identifier: Apache-2.0
"""Build an image with BuildKit and push it, writing what happens to a log while it happens."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

with contextlib.suppress(ImportError):  # the module reports a missing library
    import docker
    import requests

SIGN_OF_LIFE = 5  # seconds without a line in the log after which we write one
PROGRESS = 2  # seconds between two lines on the progress of a push
STALLED = 600  # seconds without a word from the engine after which a push has failed
TAIL_LINES = 40  # of the log, in the message when a build fails
TAIL_BYTES = 64 * 1024
SHORT_ID = slice(len("sha256:"), len("sha256:") + 12)  # of a digest, as in the engine's progress messages
LAST_WITH_OWN_BUILDKIT = 22  # major version of the docker command that builds without the buildx plugin


class BuilderError(Exception):
    """The image could not be built or pushed; the message says why and what to do."""


class Log:
    """A file that others can follow while an image is built and pushed; nobody else may read it.

    With no path it is a temporary file, removed unless something fails.
    """

    def __init__(self, path: Path | None) -> None:
        self.is_temporary = path is None
        try:
            if path is None:
                descriptor, name = tempfile.mkstemp(prefix="ecr_image-", suffix=".log")
                path = Path(name)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
                descriptor = os.open(path, flags, 0o600)
                os.fchmod(descriptor, 0o600)  # the file may have been there
        except OSError as error:
            raise BuilderError(
                f"Cannot write the log {path}: {error.strerror}. Change `log_path`."
            ) from error
        self.path = path
        self.file: BinaryIO = os.fdopen(descriptor, "ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self.file.close()
        if self.is_temporary and failure is None:
            self.path.unlink()

    def say(self, text: str) -> None:
        """Add a line."""
        self.file.write(f"[ecr_image] {text}\n".encode())

    def tail(self) -> str:
        """Return the last lines, without our signs of life."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join([line for line in lines if not line.startswith("[ecr_image] still ")][-TAIL_LINES:])

    @contextlib.contextmanager
    def alive(self, doing: str) -> Iterator[None]:
        """Write a line now and then while nothing else is written."""
        started, done = time.monotonic(), threading.Event()

        def watch() -> None:
            size = -1
            while not done.wait(SIGN_OF_LIFE):
                if size == (size := self.path.stat().st_size):
                    self.say(f"still {doing}, for {time.monotonic() - started:.0f} s")
                    size = self.path.stat().st_size

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@dataclass(frozen=True)
class Builder:
    """A docker command that can build with BuildKit."""

    docker: str
    has_buildx: bool


def find_builder() -> Builder:
    """Find the first docker command on PATH that can build with BuildKit.

    Raises:
        BuilderError: when there is none.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    commands = list(dict.fromkeys(filter(None, (shutil.which("docker", path=folder) for folder in folders))))
    for command in commands:
        if subprocess.run([command, "buildx", "version"], check=False, capture_output=True).returncode == 0:
            return Builder(command, has_buildx=True)
        about = subprocess.run([command, "--version"], check=False, capture_output=True, text=True).stdout
        version = re.search(r"version (\d+)\.", about)
        if version and int(version[1]) <= LAST_WITH_OWN_BUILDKIT:
            return Builder(command, has_buildx=False)
    lacking = f"{commands[0]} cannot build: it lacks buildx" if commands else "Docker is not installed"
    packages = "docker-buildx" if commands else "docker.io docker-buildx"
    raise BuilderError(
        f"{lacking}. On Debian or Ubuntu run `sudo apt install {packages}` (with Docker's own packages: "
        "docker-buildx-plugin); elsewhere install Docker Desktop."
    )


def connect(builder: Builder) -> docker.DockerClient:
    """Open the engine that the docker command uses.

    Raises:
        BuilderError: when it does not answer.
    """
    inspect = [builder.docker, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    host = subprocess.run(inspect, check=False, capture_output=True, text=True).stdout.strip()
    try:
        if "DOCKER_HOST" in os.environ:
            return docker.from_env(timeout=STALLED, use_ssh_client=True)
        return docker.DockerClient(base_url=host or None, timeout=STALLED, use_ssh_client=True)
    except docker.errors.DockerException as error:
        if "Permission denied" in str(error):
            advice = "You may not use it: run `sudo usermod -aG docker $USER` and log in again"
        else:
            advice = "Start it: `sudo systemctl start docker`, or open Docker Desktop"
        raise BuilderError(
            f"The Docker engine at {host} does not answer. {advice}. Details: {error}"
        ) from error


def build_command(
    builder: Builder,
    *,
    context: Path,
    dockerfile: Path,
    image: str,
    version: str,
    platform: str,
    build_args: dict[str, str],
    cache_from: list[str],
) -> list[str]:
    """Put the command together; it loads the image into the engine."""
    # An attestation would make the image an index of two manifests, one of them for no platform
    start = ["buildx", "build", "--load", "--provenance=false"] if builder.has_buildx else ["build"]
    options = {
        "--progress": ["plain"],
        "--platform": [platform],
        "--file": [str(dockerfile)],
        "--tag": [image],
        "--label": [f"org.opencontainers.image.revision={version}"],
        "--build-arg": [f"{name}={value}" for name, value in ({"VERSION": version} | build_args).items()],
        "--cache-from": cache_from,
    }
    chosen = [f"{option}={value}" for option, values in options.items() for value in values]
    return [builder.docker, *start, *chosen, str(context)]


def build(command: list[str], log: Log) -> None:
    """Run the build; its output goes to the log.

    Raises:
        BuilderError: with the end of the log, when it fails.
    """
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}
    with log.alive("building"):
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=log.file, stderr=log.file, env=environment
        )
    if done.returncode:
        raise BuilderError(f"The build failed. Whole log: {log.path}. It ends with:\n{log.tail()}")


def push(engine: docker.DockerClient, image: str, credentials: dict[str, str], log: Log) -> frozenset[str]:
    """Push an image, with credentials that are stored nowhere.

    Returns:
        The short ids of the layers that were sent; the registry has had the others.

    Raises:
        BuilderError: with the engine's own words, when it fails.
    """
    name, tag = image.rsplit(":", 1)
    sent: set[str] = set()
    progress = Progress(log)
    try:
        with log.alive("pushing"):
            for event in engine.api.push(name, tag, auth_config=credentials, stream=True, decode=True):
                if "error" in event:
                    raise BuilderError(event["error"])
                progress.note(event)
                if event.get("status") == "Pushed":
                    sent.add(event["id"])
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise BuilderError(str(error)) from error
    return frozenset(sent)


def forget(engine: docker.DockerClient, image: str) -> None:
    """Remove an image's name from the engine; one that cannot be removed is in the way of nothing."""
    with contextlib.suppress(docker.errors.DockerException):
        engine.images.remove(image)


class Progress:
    """Lines about a push: each layer's end, and how far the layers under way are."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.layers: dict[str, tuple[int, int]] = {}
        self.spoken = 0.0

    def note(self, event: dict[str, Any]) -> None:
        """Take one message of the engine's push stream."""
        layer, status = event.get("id"), event.get("status", "")
        if layer and status == "Pushing":
            detail = event.get("progressDetail") or {}
            self.layers[layer] = (detail.get("current", 0), detail.get("total", 0))
            if time.monotonic() - self.spoken >= PROGRESS:
                self.spoken = time.monotonic()
                sent, total = (sum(column) / 1e6 for column in zip(*self.layers.values(), strict=True))
                self.log.say(f"pushing: {sent:.1f} of {max(sent, total):.1f} MB")
        elif layer and status not in {"Preparing", "Waiting"}:
            self.log.say(f"{layer}: {status}")


def bytes_sent(sent: frozenset[str], diff_ids: tuple[str, ...], layers: list[dict[str, Any]]) -> int:
    """Add up the compressed sizes of the layers that were sent.

    Args:
        sent: short ids of the layers, as the engine gives them: of the diff id, or of the digest where the
            engine keeps its images in containerd.
        diff_ids: of the image's layers, in order.
        layers: of the image's manifest, in the same order.
    """
    sizes = {}
    for diff_id, layer in zip(diff_ids, layers, strict=True):
        if sent & {diff_id[SHORT_ID], layer["digest"][SHORT_ID]}:
            sizes[layer["digest"]] = layer["size"]
    return sum(sizes.values())
