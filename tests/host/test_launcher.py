"""The launcher's program, from start to stop, on a host which AWS does not answer."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image
from matinee_host.__main__ import serve
from matinee_host.cloud import Cloud
from matinee_host.engine import ImageError
from matinee_host.model import (
    Config,
    ExitCode,
    LaunchError,
    Release,
    State,
    Status,
    read_state,
    read_status,
    write_state,
)

from tests.host.launcher import LAUNCHER

NO_AWS = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_MAX_ATTEMPTS": "1",
}


def command(config: Config, *arguments: str) -> list[str]:
    """How to call the launcher with this configuration."""
    file = Path(config.state_directory, "host.json")
    file.write_text(json.dumps(dataclasses.asdict(config)))
    return [sys.executable, "-P", "-m", "matinee_host", "--config", str(file), *arguments]


class Launcher:
    """The launcher as systemd runs it."""

    def __init__(self, config: Config, notifications: socket.socket, process: subprocess.Popen[str]) -> None:
        self.config = config
        self.process = process
        self._notifications = notifications

    def wait_ready(self) -> Status:
        """Wait until it says that it is ready; return its status."""
        while self._notifications.recv(65536) != b"READY=1":
            pass
        return read_status(self.config.status_file)


@pytest.fixture
def launcher(config: Config, tmp_path: Path) -> Iterator[Callable[[], Launcher]]:
    """Start the launcher."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(tmp_path / "notify"))
        notifications.settimeout(60)
        started: list[subprocess.Popen[str]] = []

        def launch() -> Launcher:
            environment = os.environ | NO_AWS
            environment |= {"PYTHONPATH": str(LAUNCHER), "NOTIFY_SOCKET": str(tmp_path / "notify")}
            process = subprocess.Popen(
                command(config, "run"), env=environment, stderr=subprocess.PIPE, text=True
            )
            started.append(process)
            return Launcher(config, notifications, process)

        yield launch
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def release(app: Image, config: Config) -> Release:
    """An image which was healthy on this host before."""
    assert app.id
    release = Release(app.id, "sha256:feed", "abc123")
    write_state(config.state_file, State(release))
    return release


def test_without_aws_the_last_good_image_is_served(
    launcher: Callable[[], Launcher], config: Config, release: Release
) -> None:
    status = launcher().wait_ready()
    assert (status.state, status.version, status.image) == ("serving", "abc123", release.image)
    assert "ECR cannot be asked for the newest image" in status.reason
    assert "It runs without its parameters" in status.reason
    with urllib.request.urlopen(config.health_url) as response:
        assert response.status == 200
    assert not config.environment_file.exists()
    assert read_state(config.state_file).current == release


def test_a_stop_ends_the_container_in_good_order(
    launcher: Callable[[], Launcher], config: Config, release: Release, engine: docker.DockerClient
) -> None:
    running = launcher()
    running.wait_ready()
    running.process.terminate()
    assert running.process.wait(60) == ExitCode.OK
    assert not engine.containers.list(all=True, filters={"name": config.container})
    assert read_status(config.status_file).state == "stopped"
    assert list(Path(config.run_directory).iterdir()) == [config.status_file]


def test_the_end_of_the_container_ends_the_launcher_so_that_systemd_starts_it_again(
    launcher: Callable[[], Launcher], config: Config, release: Release, engine: docker.DockerClient
) -> None:
    running = launcher()
    running.wait_ready()
    engine.containers.get(config.container).kill()
    assert running.process.wait(60) == ExitCode.FAILED
    status = read_status(config.status_file)
    assert (status.state, status.reason) == ("failed", "The container ended, with exit code 137.")


def test_after_a_kill_the_next_start_serves_again(
    launcher: Callable[[], Launcher], config: Config, release: Release
) -> None:
    killed = launcher()
    killed.wait_ready()
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait(60)
    assert launcher().wait_ready().state == "serving"


def test_a_stop_while_the_image_is_asked_for_its_user_leaves_no_container(
    launcher: Callable[[], Launcher],
    build: Callable[[str], Image],
    config: Config,
    engine: docker.DockerClient,
) -> None:
    slow = build(
        "FROM python:3.13-slim-trixie\n"
        "RUN useradd app\n"
        "RUN printf '#!/bin/sh\\ntrap exit TERM; sleep 60 & wait' > /usr/bin/id\n"
        'USER app\nCMD ["true"]'
    )
    assert slow.id
    write_state(config.state_file, State(Release(slow.id, "sha256:feed", "abc123")))
    events = engine.events(filters={"event": "start", "image": slow.id}, decode=True)
    running = launcher()
    next(events)
    events.close()
    running.process.terminate()
    assert running.process.wait(60) == ExitCode.OK
    assert not engine.containers.list(all=True, filters={"ancestor": slow.id})


def test_without_aws_and_without_an_image_it_says_so_and_waits(
    launcher: Callable[[], Launcher], config: Config
) -> None:
    running = launcher()
    status = running.wait_ready()
    assert status.state == "no-image"
    assert "ECR cannot be asked for the newest image" in status.reason
    running.process.terminate()
    assert running.process.wait(60) == ExitCode.OK


class Parameters(Cloud):
    """An AWS which answers, with these parameters."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self.parameters = parameters

    def read_parameters(self, path: str) -> dict[str, str]:
        """Whatever the path."""
        return self.parameters


@pytest.mark.parametrize(
    ("parameters", "remark", "error", "reason"),
    [
        ({"BROKEN": "1"}, "", ImageError, "ended at once, with exit code 1"),
        ({"SICK": "1"}, "", ImageError, "not healthy within 3 s"),
        ({"BROKEN": "1"}, "The last good image.", LaunchError, "ended at once, with exit code 1"),
    ],
)
def test_an_image_which_is_not_healthy_is_removed_and_does_not_become_the_last_good_one(
    parameters: dict[str, str],
    remark: str,
    error: type[LaunchError],
    reason: str,
    config: Config,
    release: Release,
    engine: docker.DockerClient,
) -> None:
    config = dataclasses.replace(config, health_timeout=3)
    bad = dataclasses.replace(release, digest="sha256:bad")
    with pytest.raises(LaunchError, match=reason) as caught:
        serve(config, Parameters(parameters), engine, bad, remark)
    assert type(caught.value) is error
    assert not engine.containers.list(all=True, filters={"name": config.container})
    assert read_state(config.state_file) == State(release)
    assert not config.environment_file.exists()


def test_status_is_json_before_and_after_the_first_start(config: Config) -> None:
    call = command(config, "status")
    before = subprocess.run(call, env={"PYTHONPATH": str(LAUNCHER)}, check=True, capture_output=True).stdout
    assert json.loads(before)["state"] == "stopped"
    Path(config.status_file).write_text(json.dumps(dataclasses.asdict(Status("no-image", "None yet."))))
    after = subprocess.run(call, env={"PYTHONPATH": str(LAUNCHER)}, check=True, capture_output=True).stdout
    assert json.loads(after)["reason"] == "None yet."


def test_a_bad_configuration_ends_with_a_code_that_systemd_leaves_be(config: Config) -> None:
    call = command(dataclasses.replace(config, memory="much"), "run")
    ended = subprocess.run(
        call, env={"PYTHONPATH": str(LAUNCHER)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == ExitCode.BAD_CONFIG
    assert "much" in ended.stderr
    assert "Traceback" not in ended.stderr
