"""ECR's two faces are one: what docker pushes the API knows, what the API tags docker pulls."""

import base64
import json
from collections.abc import Callable
from typing import Any

import docker
import pytest
from botocore.exceptions import ClientError
from docker.errors import APIError
from docker.models.images import Image

from tests.local_aws import Rehearsal
from tests.rehearsal.host import Host

MAKE_IMAGE = Callable[[int], Image]


def _login(rehearsal: Rehearsal, **identity: str) -> tuple[str, dict[str, str]]:
    """The registry's host, and what docker needs to log in."""
    data = rehearsal.boto("ecr", **identity).get_authorization_token()["authorizationData"][0]
    user, password = base64.b64decode(data["authorizationToken"]).decode().split(":")
    return data["proxyEndpoint"].removeprefix("http://"), {"username": user, "password": password}


def _push(
    rehearsal: Rehearsal,
    engine: docker.DockerClient,
    image: Image,
    repository: str,
    tag: str,
    **identity: str,
) -> list[dict[str, Any]]:
    """Push; returns what the engine said, of which errors are a part."""
    registry, login = _login(rehearsal, **identity)
    name = f"{registry}/{repository}"
    image.tag(name, tag)
    try:
        return list(engine.images.push(name, tag, auth_config=login, stream=True, decode=True))
    finally:
        engine.images.remove(f"{name}:{tag}")


def _errors(said: list[dict[str, Any]]) -> str:
    return " ".join(line["error"] for line in said if "error" in line)


def _digest(said: list[dict[str, Any]]) -> str:
    assert not _errors(said)
    return str(next(line["aux"]["Digest"] for line in said if "aux" in line))


def _tags(rehearsal: Rehearsal, repository: str) -> dict[str, list[str]]:
    details = rehearsal.boto("ecr").describe_images(repositoryName=repository)["imageDetails"]
    return {detail["imageDigest"]: sorted(detail.get("imageTags", [])) for detail in details}


def _create(rehearsal: Rehearsal, name: str, **options: str) -> str:
    rehearsal.boto("ecr").create_repository(repositoryName=name, **options)
    return name


def test_the_api_knows_an_image_as_soon_as_its_push_returns(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, ci: dict[str, str], repository: str
) -> None:
    digest = _digest(_push(rehearsal, engine, image(1000), repository, "first", **ci))
    ecr = rehearsal.boto("ecr", **ci)
    details = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": "first"}])["imageDetails"]
    assert details[0]["imageDigest"] == digest
    manifest = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"][0]
    parts = json.loads(manifest["imageManifest"])
    compressed = sum(layer["size"] for layer in [parts["config"], *parts["layers"]])
    assert details[0]["imageSizeInBytes"] == compressed


def test_a_second_push_of_the_same_is_no_error(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, repository: str
) -> None:
    one = image(1000)
    digest = _digest(_push(rehearsal, engine, one, repository, "same"))
    assert _digest(_push(rehearsal, engine, one, repository, "same")) == digest


def test_a_tag_set_by_the_api_is_pulled(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, repository: str
) -> None:
    old = _digest(_push(rehearsal, engine, image(1000), repository, "old"))
    new = _digest(_push(rehearsal, engine, image(1000), repository, "moving"))
    ecr = rehearsal.boto("ecr")
    manifest = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "old"}])["images"][0]
    ecr.put_image(repositoryName=repository, imageManifest=manifest["imageManifest"], imageTag="moving")

    tags = _tags(rehearsal, repository)
    assert tags[old] == ["moving", "old"]
    assert tags[new] == []
    registry, login = _login(rehearsal)
    pulled = engine.images.pull(f"{registry}/{repository}", "moving", auth_config=login)
    assert f"{registry}/{repository}@{old}" in pulled.attrs["RepoDigests"]


def test_an_immutable_tag_stays(rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE) -> None:
    repository = _create(rehearsal, "immutable", imageTagMutability="IMMUTABLE")
    _digest(_push(rehearsal, engine, image(1000), repository, "v1"))
    assert "cannot be overwritten because the tag is immutable" in _errors(
        _push(rehearsal, engine, image(1000), repository, "v1")
    )


def test_a_deleted_image_cannot_be_pulled(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, repository: str
) -> None:
    digest = _digest(_push(rehearsal, engine, image(1000), repository, "doomed"))
    rehearsal.boto("ecr").batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    registry, login = _login(rehearsal)
    with pytest.raises(APIError, match="not found"):
        engine.images.pull(f"{registry}/{repository}", "doomed", auth_config=login)


def test_a_deleted_repository_forgets_its_layers(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE
) -> None:
    repository, one = _create(rehearsal, "short-lived"), image(1000)
    _digest(_push(rehearsal, engine, one, repository, "v1"))
    rehearsal.boto("ecr").delete_repository(repositoryName=repository, force=True)
    _create(rehearsal, repository)
    said = _push(rehearsal, engine, one, repository, "v1")
    assert [line["id"] for line in said if line.get("status") == "Pushed"]
    assert not [line for line in said if line.get("status") == "Layer already exists"]


def test_a_manifest_whose_layers_are_missing_is_refused(rehearsal: Rehearsal, repository: str) -> None:
    absent = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": 1,
        "digest": f"sha256:{'a' * 64}",
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": absent,
        "layers": [],
    }
    with pytest.raises(ClientError, match="LayersNotFoundException"):
        rehearsal.boto("ecr").put_image(
            repositoryName=repository, imageManifest=json.dumps(manifest), imageTag="empty"
        )


def test_layers_are_listed_as_the_registry_has_them(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, repository: str
) -> None:
    _digest(_push(rehearsal, engine, image(1000), repository, "layered"))
    ecr = rehearsal.boto("ecr")
    found = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "layered"}])["images"][0]
    layer = json.loads(found["imageManifest"])["layers"][0]
    asked = [layer["digest"], f"sha256:{'b' * 64}"]
    answer = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=asked)
    assert [(one["layerDigest"], one["layerSize"]) for one in answer["layers"]] == [
        (layer["digest"], layer["size"])
    ]
    assert [one["failureCode"] for one in answer["failures"]] == ["MissingLayerDigest"]


def test_a_push_to_no_repository_says_so(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE
) -> None:
    assert "repository with name 'absent' does not exist" in _errors(
        _push(rehearsal, engine, image(1000), "absent", "v1")
    )


def test_ci_cannot_push_to_another_repository(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, ci: dict[str, str]
) -> None:
    repository = _create(rehearsal, "not-for-ci")
    error = _errors(_push(rehearsal, engine, image(1000), repository, "v1", **ci))
    assert "tests-ci is not authorized to perform: ecr:" in error
    assert "repository/not-for-ci" in error


def test_a_wrong_password_is_refused(
    rehearsal: Rehearsal, engine: docker.DockerClient, repository: str
) -> None:
    registry, _ = _login(rehearsal)
    with pytest.raises(APIError, match=r"no basic auth credentials|[Uu]nauthorized|Not Authorized"):
        engine.images.pull(
            f"{registry}/{repository}", "first", auth_config={"username": "AWS", "password": "wrong"}
        )


def test_a_host_pulls_over_tls_with_its_role_and_containers_in_it_have_names_but_no_metadata(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, host: Host, repository: str
) -> None:
    """One long test, because installing an engine in the host is its dear part."""
    digest = _digest(_push(rehearsal, engine, image(120_000_000), repository, "large"))
    base = engine.images.get("debian:trixie-slim")
    _digest(_push(rehearsal, engine, base, repository, "base"))
    host.run(
        "sudo apt-get -qq update && sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install"
        " --no-install-recommends docker.io docker-cli python3-boto3 python3-docker > /dev/null 2>&1"
    )
    assert host.run("sudo docker info --format '{{.Driver}}'") == "overlay2"

    pulled = host.run("sudo python3 - large base", stdin=PULL.replace("REPOSITORY", repository)).splitlines()
    assert pulled[0] == "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    assert pulled[1].endswith(f"@{digest}")

    run = f"sudo docker run --rm {pulled[0].removeprefix('https://')}/{repository}:base"
    address = host.run(f"{run} getent hosts ssm.eu-central-1.amazonaws.com").split()[0]
    assert address == host.run("getent hosts ssm.eu-central-1.amazonaws.com").split()[0]
    # Connections of a container in the host pass the network's packet size
    host.run(f"{run} apt-get -qq update")
    _containers_reach_metadata(host, run, hops=1, expected="no")
    _containers_reach_metadata(host, run, hops=2, expected="yes")


def _containers_reach_metadata(host: Host, run: str, hops: int, expected: str) -> None:
    host.rehearsal.boto("ec2").modify_instance_metadata_options(
        InstanceId=host.instance_id, HttpPutResponseHopLimit=hops
    )
    request = "PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n"
    ask = (
        f'exec 3<>/dev/tcp/169.254.169.254/80; printf "{request}" >&3; read -t 5 -u 3 && echo yes || echo no'
    )
    assert host.run(f"{run} bash -c '{ask}'") == expected


PULL = """
import base64, sys
import boto3, docker

data = boto3.client("ecr", region_name="eu-central-1").get_authorization_token()["authorizationData"][0]
user, password = base64.b64decode(data["authorizationToken"]).decode().split(":")
print(data["proxyEndpoint"])
registry = data["proxyEndpoint"].removeprefix("https://")
for tag in sys.argv[1:]:
    login = {"username": user, "password": password}
    image = docker.from_env().images.pull(f"{registry}/REPOSITORY", tag, auth_config=login)
    print(image.attrs["RepoDigests"][0])
"""
