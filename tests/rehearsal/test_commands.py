"""`python -m rehearsal`: what its commands leave behind, and what they say when they cannot."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator

import docker
import pytest
from docker.errors import APIError

from tests.local_aws import ROOT, Rehearsal, free_port, run_rehearsal
from tests.rehearsal.host import DEBIAN, PATIENCE, wait_until


def _remains(engine: docker.DockerClient, name: str) -> list[str]:
    mine: dict[str, str | list[str] | bool] = {"label": f"matinee.rehearsal={name}"}
    containers = engine.containers.list(all=True, filters=mine, ignore_removed=True)
    networks, volumes = engine.networks.list(filters=mine), engine.volumes.list(filters=mine)
    return [str(one.attrs["Name"]) for one in (*containers, *networks, *volumes)]


def _services(engine: docker.DockerClient, name: str) -> list[str | None]:
    """Hosts come and go with other tests; the services stay."""
    return [
        engine.containers.get(f"{name}-{role}").id for role in ("dns", "acme", "registry", "gateway", "aws")
    ]


def test_up_again_changes_nothing(rehearsal: Rehearsal, engine: docker.DockerClient) -> None:
    rehearsal.boto("ssm").put_parameter(Name="/before", Value="kept", Type="String")
    before = _services(engine, rehearsal.name)

    again = run_rehearsal("up", "--name", rehearsal.name)

    assert again.returncode == 0, again.stderr
    assert _services(engine, rehearsal.name) == before
    assert rehearsal.boto("ssm").get_parameter(Name="/before")["Parameter"]["Value"] == "kept"


def test_up_again_mends_what_is_broken(rehearsal: Rehearsal, engine: docker.DockerClient) -> None:
    engine.containers.get(f"{rehearsal.name}-gateway").remove(force=True)
    engine.containers.get(f"{rehearsal.name}-dns").stop()

    again = run_rehearsal("up", "--name", rehearsal.name, port=rehearsal.port)

    assert again.returncode == 0, again.stderr
    assert engine.containers.get(f"{rehearsal.name}-dns").status == "running"
    assert rehearsal.boto("sts").get_caller_identity()["Account"] == "123456789012"


def test_up_while_others_remove_old_images(rehearsal: Rehearsal) -> None:
    done = threading.Event()

    def prune() -> None:
        client = docker.from_env()
        while not done.is_set():
            with contextlib.suppress(APIError):  # Docker does one at a time
                client.images.prune(filters={"label": "matinee.rehearsal.image=none"})

    others = [threading.Thread(target=prune) for _ in range(6)]
    for other in others:
        other.start()
    try:
        again = run_rehearsal("up", "--name", rehearsal.name)
    finally:
        done.set()
        for other in others:
            other.join()
    assert again.returncode == 0, again.stderr


def test_the_profile_is_all_an_aws_tool_needs(rehearsal: Rehearsal) -> None:
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    env = {**rehearsal.env, "AWS_REGION": ""}
    command = ["python", "-c", program]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "arn:aws:iam::123456789012:user/administrator"


def test_the_credentials_are_for_their_owner_only(rehearsal: Rehearsal) -> None:
    assert (rehearsal.dir / "credentials").stat().st_mode & 0o077 == 0


def test_status_lists_what_stands(rehearsal: Rehearsal) -> None:
    status = run_rehearsal("status", "--name", rehearsal.name)
    assert status.returncode == 0
    assert f"api http://127.0.0.1:{rehearsal.port}" in status.stdout
    assert f"{rehearsal.name}-gateway running" in status.stdout


def test_status_of_nothing_says_how_to_start() -> None:
    status = run_rehearsal("status", "--name", "matinee-test-absent")
    assert status.returncode == 1
    assert "python -m rehearsal up" in status.stderr


def test_a_taken_port_is_named_with_a_way_out(rehearsal: Rehearsal, engine: docker.DockerClient) -> None:
    name = f"{rehearsal.name}-port"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run_rehearsal("up", "--name", name, port=port)
    assert result.returncode == 1
    assert f"Port {port} " in result.stderr
    assert f"REHEARSAL_PORT={port + 1} python -m rehearsal up" in result.stderr
    assert _remains(engine, name) == []


def test_a_port_which_is_none_is_refused() -> None:
    result = run_rehearsal("up", "--name", "matinee-test-port", port=99999)
    assert result.returncode == 1
    assert "from 1024 to 65535" in result.stderr


@pytest.fixture(scope="module")
def second(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    """A rehearsal beside the first, whose loss hurts nobody."""
    name, port = f"{rehearsal.name}-second", free_port()
    try:
        up = run_rehearsal("up", "--name", name, port=port)
        assert up.returncode == 0, up.stderr
        yield Rehearsal(name, port, ROOT / ".rehearsal" / name, {})
    finally:
        run_rehearsal("down", "--name", name)


def _running_instance(rehearsal: Rehearsal) -> str:
    ec2 = rehearsal.boto("ec2")
    image = ec2.describe_images(Owners=[DEBIAN])["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig=PATIENCE)
    return str(instance)


def test_a_restarted_api_has_an_empty_account_and_removes_its_hosts(
    second: Rehearsal, engine: docker.DockerClient
) -> None:
    instance = _running_instance(second)
    assert any(instance in name for name in _remains(engine, second.name))

    engine.containers.get(f"{second.name}-aws").restart()
    again = run_rehearsal("up", "--name", second.name)

    assert again.returncode == 0, again.stderr
    assert second.boto("ec2").describe_instances()["Reservations"] == []
    wait_until(lambda: not any(instance in name for name in _remains(engine, second.name)))


def test_down_leaves_nothing(second: Rehearsal, engine: docker.DockerClient) -> None:
    _running_instance(second)

    down = run_rehearsal("down", "--name", second.name)

    assert down.returncode == 0, down.stderr
    assert _remains(engine, second.name) == []
    assert not second.dir.exists()
