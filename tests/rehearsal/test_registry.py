"""ECR's two faces are one: what docker pushes the API knows, what the API tags docker pulls."""

import json
from collections.abc import Callable

import docker
import pytest
from botocore.exceptions import ClientError
from docker.errors import APIError
from docker.models.images import Image

from tests.local_aws import Rehearsal
from tests.rehearsal.registry import digest_of, errors_in, log_in, push

MAKE_IMAGE = Callable[[int], Image]


def _tags(rehearsal: Rehearsal, repository: str) -> dict[str, list[str]]:
    details = rehearsal.boto("ecr").describe_images(repositoryName=repository)["imageDetails"]
    return {detail["imageDigest"]: sorted(detail.get("imageTags", [])) for detail in details}


def _create(rehearsal: Rehearsal, name: str, **options: str) -> str:
    rehearsal.boto("ecr").create_repository(repositoryName=name, **options)
    return name


def test_the_api_knows_an_image_as_soon_as_its_push_returns(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, ci: dict[str, str], repository: str
) -> None:
    digest = digest_of(push(rehearsal, engine, image(1000), repository, "first", **ci))
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
    digest = digest_of(push(rehearsal, engine, one, repository, "same"))
    assert digest_of(push(rehearsal, engine, one, repository, "same")) == digest


def test_a_tag_set_by_the_api_is_pulled(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, repository: str
) -> None:
    old = digest_of(push(rehearsal, engine, image(1000), repository, "old"))
    new = digest_of(push(rehearsal, engine, image(1000), repository, "moving"))
    ecr = rehearsal.boto("ecr")
    manifest = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "old"}])["images"][0]
    ecr.put_image(repositoryName=repository, imageManifest=manifest["imageManifest"], imageTag="moving")

    tags = _tags(rehearsal, repository)
    assert tags[old] == ["moving", "old"]
    assert tags[new] == []
    registry, login = log_in(rehearsal)
    pulled = engine.images.pull(f"{registry}/{repository}", "moving", auth_config=login)
    assert f"{registry}/{repository}@{old}" in pulled.attrs["RepoDigests"]


def test_an_immutable_tag_stays(rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE) -> None:
    repository = _create(rehearsal, "immutable", imageTagMutability="IMMUTABLE")
    digest_of(push(rehearsal, engine, image(1000), repository, "v1"))
    assert "cannot be overwritten because the tag is immutable" in errors_in(
        push(rehearsal, engine, image(1000), repository, "v1")
    )


def test_a_deleted_image_cannot_be_pulled(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, repository: str
) -> None:
    digest = digest_of(push(rehearsal, engine, image(1000), repository, "doomed"))
    rehearsal.boto("ecr").batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    registry, login = log_in(rehearsal)
    with pytest.raises(APIError, match="not found"):
        engine.images.pull(f"{registry}/{repository}", "doomed", auth_config=login)


def test_a_deleted_repository_forgets_its_layers(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE
) -> None:
    repository, one = _create(rehearsal, "short-lived"), image(1000)
    digest_of(push(rehearsal, engine, one, repository, "v1"))
    rehearsal.boto("ecr").delete_repository(repositoryName=repository, force=True)
    _create(rehearsal, repository)
    said = push(rehearsal, engine, one, repository, "v1")
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
    digest_of(push(rehearsal, engine, image(1000), repository, "layered"))
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
    assert "repository with name 'absent' does not exist" in errors_in(
        push(rehearsal, engine, image(1000), "absent", "v1")
    )


def test_ci_cannot_push_to_another_repository(
    rehearsal: Rehearsal, engine: docker.DockerClient, image: MAKE_IMAGE, ci: dict[str, str]
) -> None:
    repository = _create(rehearsal, "not-for-ci")
    error = errors_in(push(rehearsal, engine, image(1000), repository, "v1", **ci))
    assert "tests-ci is not authorized to perform: ecr:" in error
    assert "repository/not-for-ci" in error


def test_a_wrong_password_is_refused(
    rehearsal: Rehearsal, engine: docker.DockerClient, repository: str
) -> None:
    registry, _ = log_in(rehearsal)
    with pytest.raises(APIError, match=r"no basic auth credentials|[Uu]nauthorized|Not Authorized"):
        engine.images.pull(
            f"{registry}/{repository}", "first", auth_config={"username": "AWS", "password": "wrong"}
        )
