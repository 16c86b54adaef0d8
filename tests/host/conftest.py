"""The launcher against the Docker of this machine: images, a registry, and where it may write."""

import dataclasses
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest
from docker.models.images import Image

from tests.host.launcher import APP_UID, LAUNCHER
from tests.local_aws import free_port

sys.path.insert(0, str(LAUNCHER))

from matinee_host.cloud import Registry
from matinee_host.model import Config

LABEL, PID = "matinee.test", str(os.getpid())  # other test runs use the same Docker
REGISTRY_DOCKERFILE = """
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends docker-registry apache2-utils
RUN htpasswd -Bbn AWS token > /etc/docker/registry/htpasswd
CMD ["docker-registry", "serve", "/etc/docker/registry/config.yml"]
"""


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker of this machine; what a test leaves in it is removed at the end."""
    client = docker.from_env(timeout=120)
    yield client
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={PID}"}):
        container.remove(force=True, v=True)
    for image in client.images.list(filters={"label": f"{LABEL}={PID}"}):
        image.remove(force=True)


@pytest.fixture(scope="session")
def build(engine: docker.DockerClient) -> Callable[[str], Image]:
    """Build an image from a Dockerfile's text."""

    def build(dockerfile: str) -> Image:
        image, _ = engine.images.build(fileobj=BytesIO(dockerfile.encode()), labels={LABEL: PID}, rm=True)
        return image

    return build


@pytest.fixture(scope="session")
def app(engine: docker.DockerClient) -> Image:
    """An image whose user has a name."""
    image, _ = engine.images.build(
        path=str(Path(__file__).parent / "app"),
        buildargs={"UID": str(APP_UID), "VERSION": "abc123"},
        labels={LABEL: PID},
        rm=True,
    )
    return image


@pytest.fixture(scope="session")
def registry(engine: docker.DockerClient, build: Callable[[str], Image]) -> Iterator[Registry]:
    """A registry which asks for its password."""
    port = free_port()
    container = engine.containers.run(
        build(REGISTRY_DOCKERFILE),
        detach=True,
        ports={"5000/tcp": ("127.0.0.1", port)},
        labels={LABEL: PID},
    )
    for line in container.logs(stream=True):
        if b"listening on" in line:
            break
    yield Registry(f"127.0.0.1:{port}", {"username": "AWS", "password": "token"})
    container.remove(force=True, v=True)


@pytest.fixture
def config(tmp_path: Path, engine: docker.DockerClient) -> Iterator[Config]:
    """A host's configuration, with folders of its own; the run directory is on tmpfs."""
    with TemporaryDirectory(dir="/dev/shm") as run_directory:
        config = Config(
            region="eu-central-1",
            repository="test-web",
            image_tag="latest",
            parameters_path="/test/env",
            container=f"matinee-test-{uuid.uuid4().hex[:8]}",
            port=8501,
            health_path="/health",
            health_timeout=30,
            websocket_path="/stream",
            data_path="/data",
            memory="128m",
            user="",
            read_only=True,
            drain_seconds=30,
            keep_images=3,
            idle_minutes=0,
            metrics_namespace="",
            log_group="",
            watch_directory=str(tmp_path),
            run_directory=run_directory,
            state_directory=str(tmp_path),
            proxy_directory=run_directory,
            proxy_front="127.0.0.1:1",
        )
        yield config
        for container in engine.containers.list(all=True, filters={"name": config.container}):
            container.remove(force=True, v=True)


@pytest.fixture
def launch(config: Config) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the launcher's program with `config` and some arguments."""
    file = Path(config.state_directory, "host.json")
    started: list[subprocess.Popen[str]] = []

    def launch(*arguments: str) -> subprocess.Popen[str]:
        file.write_text(json.dumps(dataclasses.asdict(config)))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "matinee_host", "--config", str(file), *arguments],
            env={"PYTHONPATH": str(LAUNCHER)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()
