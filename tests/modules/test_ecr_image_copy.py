"""ecr_image_copy, with images that were really pushed."""

import base64
import hashlib
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import docker
import pytest

from tests.modules.running import Client, RunModule

VERSION = "0123456789ab"


@pytest.fixture(scope="module")
def repositories(aws: Client) -> Iterator[tuple[str, str]]:
    """Two repositories; the first has an image with a version and the tag staging."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    names = (name, f"{name}-other")
    with ExitStack() as cleanup:
        for one in names:
            aws("ecr").create_repository(repositoryName=one)
            cleanup.callback(aws("ecr").delete_repository, repositoryName=one, force=True)
        push(aws, name)
        yield names


def push(aws: Client, name: str) -> None:
    """Push an image of two layers of its own."""
    engine, ecr = docker.from_env(), aws("ecr")
    [login] = ecr.get_authorization_token()["authorizationData"]
    image = f"{login['proxyEndpoint'].split('//')[1]}/{name}"
    dockerfile = f"FROM scratch\nCOPY one /one\nCOPY one /two\nLABEL test={name}\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as files:
        for path, content in (("Dockerfile", dockerfile), ("one", uuid.uuid4().bytes * 200_000)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            files.addfile(entry, io.BytesIO(content))
    context.seek(0)
    built, _ = engine.images.build(fileobj=context, custom_context=True, tag=f"{image}:{VERSION}", rm=True)
    password = base64.b64decode(login["authorizationToken"]).decode().split(":", 1)[1]
    try:
        for event in engine.api.push(
            image,
            VERSION,
            auth_config={"username": "AWS", "password": password},
            stream=True,
            decode=True,
        ):
            assert "error" not in event, event
    finally:
        engine.images.remove(built.id, force=True)
    ecr.put_image(repositoryName=name, imageTag="staging", imageManifest=manifest(aws, name, VERSION)[1])


def manifest(aws: Client, name: str, tag: str) -> tuple[str, str]:
    """The digest and the manifest behind a tag."""
    answer = aws("ecr").batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag}])
    [image] = answer["images"]
    return image["imageId"]["imageDigest"], image["imageManifest"]


def options(source: str, target: str, **changes: Any) -> dict[str, Any]:
    return {
        "source_repository": source,
        "source_tag": "staging",
        "repository": target,
        "tag": "latest",
    } | changes


def test_within_a_repository_the_tag_moves(
    run_module: RunModule, aws: Client, repositories: tuple[str, str]
) -> None:
    source, _ = repositories
    moved = run_module("ecr_image_copy", options(source, source))
    assert moved.changed
    assert (moved.result["version"], moved.result["bytes_copied"]) == (VERSION, 0)
    assert manifest(aws, source, "latest") == manifest(aws, source, "staging")
    assert not run_module("ecr_image_copy", options(source, source)).changed


def test_into_another_repository_it_is_copied_to_the_byte(
    run_module: RunModule, aws: Client, repositories: tuple[str, str]
) -> None:
    source, target = repositories
    assert run_module("ecr_image_copy", options(source, target), check=True).changed
    assert not aws("ecr").describe_images(repositoryName=target)["imageDetails"]

    copied = run_module("ecr_image_copy", options(source, target))
    digest, text = manifest(aws, source, VERSION)
    assert copied.result["digest"] == digest == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert manifest(aws, target, "latest") == manifest(aws, target, VERSION) == (digest, text)
    parts = [*json.loads(text)["layers"], json.loads(text)["config"]]
    assert copied.result["bytes_copied"] == sum(part["size"] for part in parts)
    layers = [part["digest"] for part in parts]
    there = aws("ecr").batch_check_layer_availability(repositoryName=target, layerDigests=layers)
    assert not there["failures"]
    again = run_module("ecr_image_copy", options(source, target))
    assert not again.changed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_tag": "none"}, "There is no image"),
        ({"source_repository": "nobodys"}, "There is no ECR repository nobodys"),
        ({"repository": "nobodys"}, "There is no ECR repository nobodys"),
    ],
)
def test_what_is_not_there_is_named(
    run_module: RunModule, repositories: tuple[str, str], changes: dict[str, str], reason: str
) -> None:
    refused = run_module("ecr_image_copy", options(*repositories, **changes))
    assert refused.failed
    assert reason in refused.message


def test_documented_rights_are_enough(
    run_module: RunModule, aws: Client, as_user: Any, repositories: tuple[str, str]
) -> None:
    source, target = repositories
    push(aws, source)
    source_arn, target_arn = (
        aws("ecr").describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryArn"]
        for name in repositories
    )
    read = ["ecr:BatchGetImage", "ecr:DescribeImages"]
    push_rights = ["BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart"]
    push_rights += ["CompleteLayerUpload", "PutImage"]
    who = as_user(
        [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Action": [*read, "ecr:GetDownloadUrlForLayer"], "Resource": source_arn},
            {
                "Effect": "Allow",
                "Action": [*read, *(f"ecr:{right}" for right in push_rights)],
                "Resource": target_arn,
            },
        ]
    )
    run = run_module("ecr_image_copy", options(source, target), environment=who)
    assert run.changed, run.output
