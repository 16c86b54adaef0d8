"""A host's own Docker engine: what it pulls, what its containers reach, and that it outlives a power loss."""

from collections.abc import Callable

import docker
import pytest
from docker.models.images import Image

from tests.local_aws import PATIENT, Rehearsal
from tests.rehearsal.host import Host
from tests.rehearsal.registry import digest_of, push

MAKE_IMAGE = Callable[[int], Image]
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


@pytest.fixture(scope="module")
def docker_host(host: Host) -> Host:
    """A host with an engine, as its role installs it."""
    host.run(
        "sudo apt-get -qq update && sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install"
        " --no-install-recommends docker.io docker-cli python3-boto3 python3-docker > /dev/null 2>&1"
    )
    return host


@pytest.fixture(scope="module")
def base(docker_host: Host, rehearsal: Rehearsal, engine: docker.DockerClient, repository: str) -> str:
    """An image with a shell, which the host has pulled."""
    digest_of(push(rehearsal, engine, engine.images.get("debian:trixie-slim"), repository, "base"))
    return _pull(docker_host, repository, "base")


def test_a_host_pulls_over_tls_with_its_role(
    docker_host: Host, rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, repository: str
) -> None:
    digest = digest_of(push(rehearsal, engine, image(120_000_000), repository, "large"))
    assert docker_host.run("sudo docker info --format '{{.Driver}}'") == "overlay2"
    assert _pull(docker_host, repository, "large").endswith(f"@{digest}")


def test_containers_in_a_host_have_names_but_no_metadata(docker_host: Host, base: str) -> None:
    host, run = docker_host, f"sudo docker run --rm {base}"
    address = host.run(f"{run} getent hosts ssm.eu-central-1.amazonaws.com").split()[0]
    assert address == host.run("getent hosts ssm.eu-central-1.amazonaws.com").split()[0]
    # Connections of a container in the host pass the network's packet size
    host.run(f"{run} apt-get -qq update")
    _containers_reach_metadata(host, run, hops=1, expected="no")
    _containers_reach_metadata(host, run, hops=2, expected="yes")
    assert host.describe()["MetadataOptions"]["HttpTokens"] == "required"


def test_a_power_loss_leaves_a_stopped_instance_whose_containers_come_back(
    docker_host: Host, engine: docker.DockerClient, base: str
) -> None:
    host, ec2 = docker_host, docker_host.rehearsal.boto("ec2")
    host.run(f"sudo docker run -d --restart=always --name=survivor {base} sh -c 'echo >> /starts; sleep 1d'")
    starts = "sudo docker exec survivor wc -l /starts 2>/dev/null"
    host.run(f'until [ "$({starts})" = "1 /starts" ]; do sleep 0.1; done')

    engine.containers.get(f"{host.rehearsal.name}-{host.instance_id}").kill()
    host.wait("stopped")
    ec2.start_instances(InstanceIds=[host.instance_id])
    host.wait("running")

    assert host.run("systemctl is-system-running --wait") == "running"
    host.run(f'until [ "$({starts})" = "2 /starts" ]; do sleep 0.1; done')


def _containers_reach_metadata(host: Host, run: str, hops: int, expected: str) -> None:
    host.rehearsal.boto("ec2").modify_instance_metadata_options(
        InstanceId=host.instance_id, HttpPutResponseHopLimit=hops
    )
    request = "PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n"
    ask = (
        f'exec 3<>/dev/tcp/169.254.169.254/80; printf "{request}" >&3; read -t 5 -u 3 && echo yes || echo no'
    )
    assert host.run(f"{run} bash -c '{ask}'") == expected


def _pull(host: Host, repository: str, tag: str) -> str:
    return host.run(f"sudo {PATIENT} python3 - {REGISTRY}/{repository} {tag}", stdin=PULL)


PULL = """
import base64, sys
import boto3, docker

data = boto3.client("ecr", region_name="eu-central-1").get_authorization_token()["authorizationData"][0]
user, password = base64.b64decode(data["authorizationToken"]).decode().split(":")
assert data["proxyEndpoint"] == "https://" + sys.argv[1].split("/")[0]
image = docker.from_env().images.pull(*sys.argv[1:], auth_config={"username": user, "password": password})
print(image.attrs["RepoDigests"][0])
"""
