"""Images and containers, with the Docker of this machine and a registry."""

import json
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image
from matinee_host.cloud import CloudError, Registry
from matinee_host.engine import (
    ImageError,
    ensure_image,
    give_data,
    has_image,
    image_uid,
    log_tail,
    prune,
    remove_container,
    run_container,
    wait_healthy,
    write_environment,
)
from matinee_host.model import Config, Release, read_status

from tests.host.launcher import APP_UID

SECRET = 's3cr3t: it\'s "here"\n$HOME `id` 日本語'


@pytest.fixture
def start(config: Config, engine: docker.DockerClient) -> Callable[[Image, dict[str, str]], Container]:
    """Start a container of an image with these parameters."""

    def start(image: Image, parameters: dict[str, str]) -> Container:
        uid = image_uid(config, engine, image)
        give_data(config.data_directory, uid)
        write_environment(config.environment_file, parameters, uid)
        return run_container(config, engine, image)

    return start


def test_a_healthy_container_has_its_parameters_and_the_image_s_own(
    start: Callable, app: Image, config: Config, engine: docker.DockerClient
) -> None:
    container = start(app, {"SECRET": SECRET, "SETTING": "plain"})
    assert wait_healthy(container, config.health_url, config.health_timeout) is None
    with urllib.request.urlopen(config.health_url) as response:
        answer = json.load(response)
    assert answer["environment"]["SECRET"] == SECRET
    assert answer["environment"]["SETTING"] == "plain"
    assert answer["environment"]["FROM_IMAGE"] == "kept as it is"
    assert answer["uid"] == APP_UID
    assert (config.data_directory / "written").stat().st_uid == APP_UID


def test_a_secret_is_not_in_what_docker_keeps_or_shows(
    start: Callable, app: Image, config: Config, engine: docker.DockerClient
) -> None:
    container = start(app, {"SECRET": "s3cr3t-value"})
    assert wait_healthy(container, config.health_url, config.health_timeout) is None
    assert "s3cr3t" not in json.dumps(container.attrs)
    assert "s3cr3t" not in json.dumps(container.top())
    assert "s3cr3t" not in log_tail(container)
    kept = f"{engine.info()['DockerRootDir']}/containers/{container.id}"
    search = engine.containers.run(
        app, entrypoint=["sh", "-c"], command=["ls /kept && ! grep -r s3cr3t /kept"], user="0", remove=True,
        volumes={kept: {"bind": "/kept", "mode": "ro"}},
    )  # fmt: skip
    assert b"config.v2.json" in search


def test_a_container_can_do_little(start: Callable, app: Image, config: Config) -> None:
    host = start(app, {}).attrs["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] == 128 * 1024**2
    assert not host["Privileged"]


def test_a_container_which_ends_at_once_is_given_up_at_once(
    start: Callable, app: Image, config: Config
) -> None:
    container = start(app, {"BROKEN": "1"})
    reason = wait_healthy(container, config.health_url, timeout=600)
    assert reason == "The container ended at once, with exit code 1."
    assert "cannot start: BROKEN is set" in log_tail(container)


def test_a_container_which_is_never_healthy_is_given_up_in_time(
    start: Callable, app: Image, config: Config
) -> None:
    reason = wait_healthy(start(app, {"SICK": "1"}), config.health_url, timeout=3)
    assert reason
    assert reason.startswith("The container was not healthy within 3 s")
    assert "503" in reason


def test_a_container_over_its_memory_says_so(
    start: Callable, build: Callable[[str], Image], config: Config
) -> None:
    greedy = build('FROM python:3.13-slim-trixie\nCMD ["python3", "-c", "x = b\'x\' * 10**9"]')
    reason = wait_healthy(start(greedy, {}), config.health_url, timeout=60)
    assert reason == "The container ended at once, killed for going over its memory limit."


def test_a_container_which_a_crash_has_left_is_replaced(
    start: Callable, app: Image, config: Config, engine: docker.DockerClient
) -> None:
    left = start(app, {})
    container = start(app, {})
    assert wait_healthy(container, config.health_url, config.health_timeout) is None
    with pytest.raises(docker.errors.NotFound):
        engine.containers.get(left.id)
    remove_container(engine, config.container)
    remove_container(engine, config.container)
    assert not engine.containers.list(all=True, filters={"name": config.container})


@pytest.mark.parametrize(("user", "uid"), [("", 0), ("4712", 4712), ("4712:100", 4712), ("www-data", 33)])
def test_the_image_s_user_is_known_by_number(
    user: str, uid: int, config: Config, engine: docker.DockerClient, build: Callable[[str], Image]
) -> None:
    image = build("FROM python:3.13-slim-trixie\n" + (f"USER {user}" if user else ""))
    assert image_uid(config, engine, image) == uid


def test_an_image_whose_user_does_not_exist_is_at_fault(
    config: Config, engine: docker.DockerClient, build: Callable[[str], Image]
) -> None:
    with pytest.raises(ImageError, match="nobody-knows"):
        image_uid(config, engine, build("FROM python:3.13-slim-trixie\nUSER nobody-knows"))


def test_an_image_with_nothing_to_run_is_at_fault(start: Callable, build: Callable[[str], Image]) -> None:
    with pytest.raises(ImageError, match="neither ENTRYPOINT nor CMD"):
        start(build("FROM python:3.13-slim-trixie\nCMD []"), {})


def test_data_change_hands_with_the_image_s_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    give_data(data, APP_UID)
    (data / "folder").mkdir()
    (data / "folder/file").touch()
    (data / "outside").symlink_to("/etc/passwd")
    give_data(data, APP_UID + (APP_UID == 4711))
    owners = {path.lstat().st_uid for path in [data, *data.rglob("*")]}
    assert owners == {APP_UID + (APP_UID == 4711)}
    assert Path("/etc/passwd").stat().st_uid == 0
    assert stat.filemode(data.stat().st_mode) == "drwx------"


def push(engine: docker.DockerClient, image: Image, repository: str, auth: dict[str, str]) -> str:
    """Push an image, remove it here, and return its digest."""
    image.tag(repository, "latest")
    answers = list(engine.api.push(repository, "latest", auth_config=auth, stream=True, decode=True))
    engine.images.remove(f"{repository}:latest")
    digest = next(answer["aux"]["Digest"] for answer in answers if "aux" in answer)
    if has_image(engine, f"{repository}@{digest}"):
        engine.images.remove(f"{repository}@{digest}")
    return digest


def test_images_are_pulled_when_absent_and_pruned_but_for_two(
    engine: docker.DockerClient, build: Callable[[str], Image], registry: Registry, config: Config
) -> None:
    name = f"{registry.host}/{config.repository}"
    releases = []
    for version in ("one", "two", "three"):
        image = build(f"FROM python:3.13-slim-trixie\nLABEL org.opencontainers.image.revision={version}")
        digest = push(engine, image, name, registry.auth)
        release = ensure_image(config, engine, registry, digest)
        assert release == Release(f"{name}@{digest}", digest, version)
        assert read_status(config.status_file).state == "pulling"
        config.status_file.unlink()
        assert ensure_image(config, engine, registry, digest) == release
        assert not config.status_file.exists()  # it was there, so there was nothing to pull
        releases.append(release)
    one, two, three = releases
    in_use = engine.containers.create(one.image, ["true"])
    prune(engine, [three, two])
    assert has_image(engine, one.image)  # it could not be removed, and that was no failure
    in_use.remove()
    prune(engine, [three, two])
    assert [has_image(engine, release.image) for release in releases] == [False, True, True]
    for release in (two, three):
        engine.images.remove(release.image)


def test_an_image_which_the_registry_does_not_give_is_not_the_image_s_fault(
    engine: docker.DockerClient, registry: Registry, config: Config
) -> None:
    absent = "sha256:" + "0" * 64
    for login, reason in [
        (registry, "not found"),
        (
            Registry(registry.host, {"username": "AWS", "password": "wrong"}),
            "no basic auth credentials|unauthorized",
        ),
        (Registry("127.0.0.1:1", registry.auth), "refused"),
    ]:
        with pytest.raises(CloudError, match=f"cannot be pulled: .*({reason})"):
            ensure_image(config, engine, login, absent)
