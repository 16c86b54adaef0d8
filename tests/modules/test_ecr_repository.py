"""ecr_repository, against ECR as the rehearsal has it."""

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.modules.running import Client, RunModule

RULE = {
    "rulePriority": 1,
    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10},
    "action": {"type": "expire"},
}
TAGS = {"Project": "ragstream", "Stage": "demo"}


@pytest.fixture
def name(aws: Client) -> Iterator[str]:
    """A name that no repository has yet; whatever has it in the end is removed."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    ecr = aws("ecr")
    with suppress(ecr.exceptions.RepositoryNotFoundException):
        ecr.delete_repository(repositoryName=name, force=True)


def options(name: str, **changes: Any) -> dict[str, Any]:
    """Everything a repository of ours is given."""
    return {"name": name, "scan_on_push": True, "lifecycle_policy": {"rules": [RULE]}, "tags": TAGS} | changes


def found(aws: Client, name: str) -> dict[str, Any]:
    """What AWS says of a repository."""
    ecr = aws("ecr")
    [repository] = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    tags = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
    return repository | {"tags": {tag["Key"]: tag["Value"] for tag in tags}}


def rules(aws: Client, name: str) -> list[dict[str, Any]]:
    """The rules after which AWS removes images."""
    text = aws("ecr").get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"]
    return json.loads(text)["rules"]


def test_made_with_all_that_was_said_and_then_left_alone(
    run_module: RunModule, aws: Client, name: str
) -> None:
    predicted = run_module("ecr_repository", options(name), check=True)
    assert predicted.changed
    with pytest.raises(aws("ecr").exceptions.RepositoryNotFoundException):
        found(aws, name)

    made = run_module("ecr_repository", options(name))
    assert made.changed
    assert made.result["diff"] == predicted.result["diff"]
    assert made.result["repository"]["uri"].endswith(f"/{name}")
    repository = found(aws, name)
    assert repository["imageScanningConfiguration"]["scanOnPush"]
    assert repository["imageTagMutability"] == "MUTABLE"
    assert repository["tags"] == TAGS
    assert rules(aws, name) == [RULE]

    for check in (True, False):
        assert not run_module("ecr_repository", options(name), check=check).changed


def test_what_is_there_is_changed_only_where_it_is_named(
    run_module: RunModule, aws: Client, name: str
) -> None:
    aws("ecr").create_repository(
        repositoryName=name,
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": False},
        tags=[{"Key": "Owner", "Value": "somebody"}, {"Key": "Stage", "Value": "other"}],
    )
    tagged = run_module("ecr_repository", {"name": name, "tags": TAGS})
    assert tagged.changed
    repository = found(aws, name)
    assert repository["tags"] == TAGS | {"Owner": "somebody"}
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert not repository["imageScanningConfiguration"]["scanOnPush"]

    assert run_module("ecr_repository", options(name, image_tag_mutability="mutable")).changed
    repository = found(aws, name)
    assert repository["imageTagMutability"] == "MUTABLE"
    assert repository["imageScanningConfiguration"]["scanOnPush"]
    assert rules(aws, name) == [RULE]

    assert run_module("ecr_repository", {"name": name, "lifecycle_policy": {}}).changed
    with pytest.raises(aws("ecr").exceptions.LifecyclePolicyNotFoundException):
        rules(aws, name)


def test_removed_with_images_only_by_force(run_module: RunModule, aws: Client, name: str) -> None:
    run_module("ecr_repository", options(name))
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    aws("ecr").put_image(repositoryName=name, imageTag="one", imageManifest=json.dumps(manifest))

    refused = run_module("ecr_repository", {"name": name, "state": "absent"})
    assert refused.failed
    assert "holds images" in refused.message

    absent = {"name": name, "state": "absent", "force": True}
    assert run_module("ecr_repository", absent, check=True).changed
    assert found(aws, name)
    assert run_module("ecr_repository", absent).changed
    assert not run_module("ecr_repository", absent).changed


def test_a_missing_right_is_named(run_module: RunModule, as_user: Any, name: str) -> None:
    rights = [{"Effect": "Allow", "Action": "ecr:DescribeRepositories", "Resource": "*"}]
    refused = run_module("ecr_repository", options(name), environment=as_user(rights))
    assert refused.failed
    assert "lack the right ecr:CreateRepository" in refused.message
