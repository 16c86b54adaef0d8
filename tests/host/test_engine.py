"""Images and containers, with the Docker of this machine and a registry."""

import dataclasses
import http.client
import json
from collections.abc import Callable

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image
from matinee_host import engine as launcher
from matinee_host.cloud import CloudError, Registry
from matinee_host.data import data_folder, give
from matinee_host.model import Config, ImageError, LaunchError, Release

from tests.host.launcher import APP_UID

SECRET = 's3cr3t: it\'s "here"\n$HOME `id` 日本語'
BASE = "FROM python:3.13-slim-trixie\n"

Start = Callable[..., Container]


@pytest.fixture
def start(config: Config, engine: docker.DockerClient) -> Start:
    """Start a container of an image with these parameters, and changes to the configuration."""

    def start(image: Image, parameters: dict[str, str], **changes: object) -> Container:
        changed = dataclasses.replace(config, **changes)  # type: ignore[arg-type]
        uid = launcher.container_uid(changed, engine, image)
        folder = data_folder(config.data_directory)
        give(folder, uid)
        launcher.write_environment(config.environment_file, parameters, uid)
        release = Release(str(image.id), "sha256:feed", "abc123")
        return launcher.start_container(changed, engine, release, folder)

    return start


def why_given_up(config: Config, container: Container, timeout: int = 60) -> str | None:
    """Wait until the container is well; say why it is given up."""
    return launcher.wait_healthy(
        dataclasses.replace(config, health_timeout=timeout), container, meanwhile=lambda: None
    )


def answer(config: Config, container: Container) -> dict:
    """What the app in a container says of itself."""
    connection = http.client.HTTPConnection(launcher.address_of(container), config.port)
    connection.request("GET", "/")
    return json.load(connection.getresponse())


def test_a_healthy_container_has_its_parameters_and_the_image_s_own(
    start: Start, app: Image, config: Config
) -> None:
    container = start(app, {"SECRET": SECRET, "SETTING": "plain"})
    assert why_given_up(config, container) is None
    said = answer(config, container)
    assert said["environment"]["SECRET"] == SECRET
    assert said["environment"]["SETTING"] == "plain"
    assert said["environment"]["FROM_IMAGE"] == "kept as it is"
    assert said["uid"] == APP_UID
    assert (config.data_directory / "written").stat().st_uid == APP_UID


def test_a_secret_is_not_in_what_docker_keeps_or_shows(
    start: Start, app: Image, config: Config, engine: docker.DockerClient
) -> None:
    container = start(app, {"SECRET": "s3cr3t-value"})
    assert why_given_up(config, container) is None
    assert "s3cr3t" not in json.dumps(container.attrs)
    assert "s3cr3t" not in json.dumps(container.top())
    assert "s3cr3t" not in launcher.log_tail(container)
    kept = f"{engine.info()['DockerRootDir']}/containers/{container.id}"
    search = engine.containers.run(
        app, entrypoint=["sh", "-c"], command=["ls /kept && ! grep -r s3cr3t /kept"], user="0", remove=True,
        volumes={kept: {"bind": "/kept", "mode": "ro"}},
    )  # fmt: skip
    assert b"config.v2.json" in search


def test_a_container_can_do_little(start: Start, app: Image) -> None:
    container = start(app, {})
    host = container.attrs["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 128 * 1024**2
    assert not host["Privileged"]
    assert not host["PortBindings"]
    assert b"Read-only file system" in container.exec_run(["touch", "/x"], user="0").output
    assert container.exec_run(["sh", "-c", "cd /tmp && touch x /data/x"]).exit_code == 0


def test_a_container_may_write_everywhere_by_wish(start: Start, app: Image) -> None:
    container = start(app, {}, read_only=False)
    assert container.exec_run(["touch", "/x"], user="0").exit_code == 0


def test_a_container_that_must_not_be_root_has_a_home_and_a_group_of_its_own(
    start: Start, build: Callable[[str], Image]
) -> None:
    container = start(build(BASE + 'CMD ["sleep", "60"]'), {}, user=str(APP_UID))
    assert container.exec_run(["sh", "-c", "echo $(id -u):$(id -g) $HOME"]).output == (
        f"{APP_UID}:{APP_UID} /tmp\n".encode()
    )


def test_a_container_says_of_which_app_and_release_it_is(
    start: Start, app: Image, config: Config, engine: docker.DockerClient
) -> None:
    container = start(app, {})
    assert launcher.release_in(container) == Release(str(app.id), "sha256:feed", "abc123")
    assert launcher.containers_of(engine, config.container) == [container]
    assert launcher.containers_of(engine, "another") == []


def test_an_app_is_ready_when_it_takes_websockets_too(start: Start, app: Image, config: Config) -> None:
    container = start(app, {})
    assert why_given_up(config, container) is None
    address = launcher.address_of(container)
    without = dataclasses.replace(config, websocket_path="/none")
    assert launcher.why_not_ready(without, address) == "/none answered 200"
    assert launcher.why_not_ready(dataclasses.replace(config, websocket_path=""), address) is None
    assert launcher.why_not_well(without, address) is None  # asked while visitors are there


def test_a_container_which_ends_at_once_is_given_up_at_once(start: Start, app: Image, config: Config) -> None:
    container = start(app, {"BROKEN": "1"})
    assert why_given_up(config, container, 600) == "The container ended at once, with exit code 1."
    assert "cannot start: BROKEN is set" in launcher.log_tail(container)


def test_a_container_which_is_never_healthy_is_given_up_in_time(
    start: Start, app: Image, config: Config
) -> None:
    reason = why_given_up(config, start(app, {"SICK": "1"}), 3)
    assert reason == "The container was not healthy within 3 s: /health answered 503."


def test_a_container_over_its_memory_says_so(
    start: Start, build: Callable[[str], Image], config: Config
) -> None:
    greedy = build(BASE + 'CMD ["python3", "-c", "x = b\'x\' * 10**9"]')
    reason = why_given_up(config, start(greedy, {}, user=str(APP_UID)))
    assert reason == "The container ended at once, killed for going over its memory limit."


def test_a_container_which_a_crash_has_left_is_replaced(
    start: Start, app: Image, config: Config, engine: docker.DockerClient
) -> None:
    left = start(app, {})
    container = start(app, {})
    assert launcher.containers_of(engine, config.container) == [container]
    with pytest.raises(docker.errors.NotFound):
        engine.containers.get(left.id)
    for _ in range(2):
        launcher.remove_container(engine, container.id)
    assert not launcher.containers_of(engine, config.container)


@pytest.mark.parametrize(
    ("configured", "user", "uid"),
    [
        ("", "", 10001),
        ("", "0", 10001),
        ("", "root:root", 10001),
        ("", "4712", 4712),
        ("", "4712:100", 4712),
        ("", "www-data", 33),
        ("4713", "", 4713),
        ("4713", "www-data", 4713),
        ("0", "www-data", 0),
    ],
)
def test_the_user_is_known_by_number_and_root_by_wish_only(
    configured: str,
    user: str,
    uid: int,
    config: Config,
    engine: docker.DockerClient,
    build: Callable[[str], Image],
) -> None:
    image = build(BASE + (f"USER {user}" if user else ""))
    assert launcher.container_uid(dataclasses.replace(config, user=configured), engine, image) == uid
    assert not launcher.containers_of(engine, config.container)


def test_an_image_whose_user_does_not_exist_is_at_fault(
    config: Config, engine: docker.DockerClient, build: Callable[[str], Image]
) -> None:
    with pytest.raises(ImageError, match="nobody-knows"):
        launcher.container_uid(config, engine, build(BASE + "USER nobody-knows"))


@pytest.mark.parametrize(
    ("dockerfile", "complaint"),
    [("CMD []", "neither ENTRYPOINT nor CMD"), ("RUN touch /data\nCMD true", "Docker cannot start")],
)
def test_an_image_that_cannot_be_started_is_at_fault(
    dockerfile: str, complaint: str, start: Start, build: Callable[[str], Image]
) -> None:
    with pytest.raises(ImageError, match=complaint):
        start(build(BASE + dockerfile), {}, user=str(APP_UID))


def test_how_it_runs_is_told_apart_without_telling_secrets(config: Config) -> None:
    one, other = launcher.fingerprint({"A": "1", "B": SECRET}), launcher.fingerprint({"B": SECRET, "A": "1"})
    assert one == other
    assert one not in (launcher.fingerprint({"A": "1"}), launcher.fingerprint({"A": SECRET, "B": "1"}))
    assert "s3cr3t" not in one
    for change in ({"memory": "256m"}, {"user": "1"}, {"read_only": False}, {"data_path": "/x"}, {"port": 1}):
        assert launcher.way(dataclasses.replace(config, **change)) != launcher.way(config)


def push(engine: docker.DockerClient, image: Image, repository: str, auth: dict[str, str]) -> str:
    """Push an image, remove it here, and return its digest."""
    image.tag(repository, "latest")
    answers = list(engine.api.push(repository, "latest", auth_config=auth, stream=True, decode=True))
    engine.images.remove(f"{repository}:latest")
    digest = next(answer["aux"]["Digest"] for answer in answers if "aux" in answer)
    if launcher.has_image(engine, f"{repository}@{digest}"):
        engine.images.remove(f"{repository}@{digest}")
    return digest


def test_images_are_pulled_and_pruned_but_for_the_good_ones(
    engine: docker.DockerClient, build: Callable[[str], Image], registry: Registry, config: Config
) -> None:
    name = f"{registry.host}/{config.repository}"
    releases = []
    for version in ("one", "two", ""):
        image = build(BASE + f"LABEL org.opencontainers.image.revision={version}")
        digest = push(engine, image, name, registry.auth)
        pulled = f"{name}@{digest}"
        assert not launcher.has_image(engine, pulled)
        launcher.pull(engine, registry, pulled)
        release = launcher.release_of(engine, pulled, digest)
        assert release == Release(pulled, digest, version or digest[7:19])
        releases.append(release)
    one, two, three = releases
    in_use = engine.containers.create(one.image, ["true"])
    launcher.prune(engine, name, [three, two])
    assert launcher.has_image(engine, one.image)  # it could not be removed, and that was no failure
    in_use.remove()
    launcher.prune(engine, f"{name}-of-others", [])
    launcher.prune(engine, name, [three, two])
    assert [launcher.has_image(engine, release.image) for release in releases] == [False, True, True]
    launcher.prune(engine, name, [])


def test_an_image_which_the_registry_does_not_give_is_not_the_image_s_fault(
    engine: docker.DockerClient, registry: Registry, config: Config
) -> None:
    absent = f"{config.repository}@sha256:{'0' * 64}"
    for login, reason in [
        (registry, "not found"),
        (
            Registry(registry.host, {"username": "AWS", "password": "wrong"}),
            "no basic auth credentials|unauthorized",
        ),
        (Registry("127.0.0.1:1", registry.auth), "refused"),
    ]:
        with pytest.raises(CloudError, match=f"cannot be pulled: .*({reason})"):
            launcher.pull(engine, login, f"{login.host}/{absent}")


def test_a_docker_that_does_not_answer_is_given_up() -> None:
    with pytest.raises(LaunchError, match="Docker did not answer for 1 s"):
        launcher.wait_engine(docker.DockerClient("tcp://127.0.0.1:1", version="1.41"), timeout=1)
